"""VGG-16 without its wide linear layers (Changpinyo et al. 2017)."""

from __future__ import annotations

from torch import nn

from advisor.zoo.pieces import conv_norm_relu
from advisor.zoo.registry import register_network

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # pooling by 2 after each


@register_network("vgg16n", input_shape=(1, 3, 224, 224), classes=1000)
def vgg16n(classes: int) -> nn.Module:
    """VGG-16n for ImageNet. B 3 224 224 → B classes.

    Changpinyo et al. 2017, section 5.1: both linear layers of 4096 give way to a 2x2 max pooling and a 3x3
    convolution of 1024 channels; batch norm throughout. The 7x7 map is pooled to 3x3, on which an unpadded convolution
    leaves one pixel. 20 453 056 parameters: 19 429 056 in convolutions and 1 024 000 in the classifier. Ours: weights
    alone, as the paper counts, so batch norm only normalises and the classifier has no bias.
    """
    layers: list[nn.Module] = []
    inputs = 3
    for widths in _STAGES:
        for outputs in widths:
            layers += conv_norm_relu(inputs, outputs, affine=False)
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(
        *layers,
        nn.MaxPool2d(2),
        *conv_norm_relu(inputs, 1024, padding=0, affine=False),
        nn.Flatten(),
        nn.Linear(1024, classes, bias=False),
    )
