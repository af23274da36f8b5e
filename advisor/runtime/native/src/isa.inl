// The entry points of one instruction set: ADVISOR_ISA names it, ADVISOR_LANES is its natural vector of floats.
#include "forward.h"
#include "gradient.h"
#include "pooling.h"

namespace advisor {
namespace ADVISOR_ISA {

int32_t forward(const Job& job) { return forward_with<ADVISOR_LANES>(job); }

int32_t grad_weight(const Job& job, float* grad) {
  return grad_weight_with<ADVISOR_LANES>(job, grad);
}

int32_t pool(const PoolJob& job) {
  Pooling<ADVISOR_LANES> work(job);
  work.run();
  return work.status;
}

}  // namespace ADVISOR_ISA
}  // namespace advisor
