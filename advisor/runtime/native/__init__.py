"""The compiled sparse kernels of the CPU: found, called, tuned."""

from advisor.runtime.native.calls import (
    ACTIVATIONS,
    Conv,
    conv_forward,
    conv_grad_input,
    conv_grad_weight,
    linear_forward,
    linear_grad_input,
    linear_grad_weight,
)
from advisor.runtime.native.library import available, isa, why_not

__all__ = [
    "ACTIVATIONS",
    "Conv",
    "available",
    "conv_forward",
    "conv_grad_input",
    "conv_grad_weight",
    "isa",
    "linear_forward",
    "linear_grad_input",
    "linear_grad_weight",
    "why_not",
]
