"""The structures that the compiled kernels read, field by field as in `src/job.h`."""

from __future__ import annotations

import ctypes

_LONG, _INT, _POINTER = ctypes.c_int64, ctypes.c_int32, ctypes.c_void_p
_SIZES = "images in_channels in_h in_w out_channels out_h out_w kept"
_STRIDES = "x_image x_channel x_row x_col y_image y_channel y_row y_col"
_SHAPES = "taps_h taps_w stride_h stride_w first_h first_w step_h step_w block blocks activation threads"
_ARRAYS = "x weight bias residual indptr inputs y"
TUNING = "lanes layout kernel outputs vectors rows chunks splits swapped"


class Job(ctypes.Structure):
    """One convolution; sizes and strides in elements."""

    _fields_ = [
        *((name, _LONG) for name in f"{_SIZES} {_STRIDES}".split()),
        *((name, _INT) for name in _SHAPES.split()),
        *((name, _POINTER) for name in _ARRAYS.split()),
        *((name, _INT) for name in TUNING.split()),
    ]


class PoolJob(ctypes.Structure):
    """Pooling of planes, without addresses."""

    _fields_ = [
        *((name, _LONG) for name in ("planes", "in_h", "in_w", "out_h", "out_w")),
        *((name, _INT) for name in ("kernel_h", "kernel_w", "stride_h", "stride_w", "pad_h", "pad_w")),
        *((name, _INT) for name in ("average", "count_padding", "divisor", "threads")),
        *((name, _POINTER) for name in ("x", "y")),
    ]
