// The entry points of one instruction set: ADVISOR_ISA names it, ADVISOR_LANES is its natural vector of floats.
#include "forward.h"
#include "gradient.h"

namespace advisor {
namespace ADVISOR_ISA {

int32_t forward(const Job& job) {
  switch (job.lanes) {
    case ADVISOR_LANES: return forward_with<ADVISOR_LANES>(job);
#ifdef ADVISOR_SHORT_LANES
    case ADVISOR_SHORT_LANES: return forward_with<ADVISOR_SHORT_LANES>(job);
#endif
    default: return kBadTuning;
  }
}

int32_t grad_weight(const Job& job, float* grad) {
  return job.lanes == ADVISOR_LANES ? grad_weight_with<ADVISOR_LANES>(job, grad) : kBadTuning;
}

}  // namespace ADVISOR_ISA
}  // namespace advisor
