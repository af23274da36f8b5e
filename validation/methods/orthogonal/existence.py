"""Whether a layer can be orthogonal at all (circular padding; Achour, Malgouyres, Mamalet 2022)."""

from __future__ import annotations

from math import prod

from advisor.network import Layer
from validation.methods.orthogonal.loss import effective_stride


def existence(layer: Layer) -> str:
    """Why no weight of this shape makes the layer orthogonal under circular padding; "" where one does.

    Of a group of a layer with M filters, C inputs, kernel k and stride S: rows (M <= S^2 C) can be orthonormal where
    M <= C k^2, columns (M > S^2 C) where S <= k. A transposed convolution is judged by the convolution it transposes.
    """
    filters, channels = layer.weight_shape[0] // layer.groups, layer.weight_shape[1]
    axes = len(layer.kernel)
    stride, dilation = layer.stride or (1,) * axes, layer.dilation or (1,) * axes
    columns, taps = channels * prod(stride), channels * prod(layer.kernel)
    apart = effective_stride(stride, dilation)
    read = channels * prod(map(min, layer.kernel, apart))
    each = " in each group" if layer.groups > 1 else ""
    if filters <= columns:
        if filters <= read:
            return ""
        if apart != stride:
            where = f"stride {stride} with dilation {dilation}"
            return f"{filters} filters{each}, but {where} reads {read} of {columns} inputs"
        return f"{filters} filters{each} of {taps} weights: no more than {taps} can be orthogonal"
    if apart != stride:
        return f"stride {stride} with dilation {dilation} leaves inputs that no tap reads, and columns are the fewer"
    if any(s > k for s, k in zip(stride, layer.kernel, strict=True)):
        return f"stride {stride} is wider than the kernel {layer.kernel} and leaves inputs that no tap reads"
    return ""


def cautions(layer: Layer) -> tuple[str, ...]:
    """What else keeps an orthogonal weight from being reached, or from meaning what it says."""
    filters, channels = layer.weight_shape[0] // layer.groups, layer.weight_shape[1]
    found = []
    if any(layer.padding):
        found.append("pads with zeros: orthogonality is that of circular padding, and holds away from the border")
    if layer.is_conv and prod(layer.kernel) > 1 and filters == channels * prod(layer.stride):
        found.append("M = S^2 C: square maps are hard to reach by descent")
    if any(size % 2 == 0 for size in layer.kernel):
        found.append("an even kernel: existence is proven for odd ones")
    return tuple(found)
