// The gradient of the input is a sparse convolution itself: of the output's gradient, with every connection reversed.
#pragma once
#include "job.h"

namespace advisor {

// Calls `forward` for each phase of the input's rows and columns (one phase at stride 1). `job` is the forward job with
// tuning for the reversed one; its `y` is the output's gradient, its `x` the input's gradient, which is written.
int32_t grad_input(const Job& job, int32_t (*forward)(const Job&));

}  // namespace advisor
