"""Small networks in the spirit of those that the source papers name without listing their layers."""

from __future__ import annotations

from torch import nn

from advisor.zoo.pieces import conv_norm_relu
from advisor.zoo.registry import register_network


@register_network("mnist_small", input_shape=(1, 1, 28, 28), classes=10)
def mnist_small(classes: int) -> nn.Module:
    """Three convolutions for MNIST. B 1 28 28 → B classes.

    Changpinyo et al. 2017, section 5.2, train TensorFlow's sample network with three convolutions; its widths and
    kernels are not printed. Theirs: three convolutions. Ours: 5x5 kernels of 32, 64 and 128 channels, pooling after
    the first two, the third unpadded, batch norm (as in their larger networks), one linear layer.
    """
    return nn.Sequential(
        *conv_norm_relu(1, 32, 5),
        nn.MaxPool2d(2),
        *conv_norm_relu(32, 64, 5),
        nn.MaxPool2d(2),
        *conv_norm_relu(64, 128, 5, padding=0),
        nn.Flatten(),
        nn.Linear(128 * 3 * 3, classes),
    )


@register_network("cifar_small", input_shape=(1, 3, 32, 32), classes=10)
def cifar_small(classes: int) -> nn.Module:
    """Two convolutions for CIFAR. B 3 32 32 → B classes.

    Changpinyo et al. 2017, section 5.2, train TensorFlow's sample network with two convolutions. Theirs: two
    convolutions; from the sample: 5x5 kernels of 64 channels, overlapping 3x3 pooling, linear layers of 384 and 192.
    Ours: batch norm instead of local response normalisation, and the whole image of 32x32 instead of crops of 24x24.
    """
    return nn.Sequential(
        *conv_norm_relu(3, 64, 5),
        nn.MaxPool2d(3, stride=2, padding=1),
        *conv_norm_relu(64, 64, 5),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Flatten(),
        nn.Linear(64 * 8 * 8, 384),
        nn.ReLU(),
        nn.Linear(384, 192),
        nn.ReLU(),
        nn.Linear(192, classes),
    )


@register_network("alexnet_cifar", input_shape=(1, 3, 32, 32), classes=10)
def alexnet_cifar(classes: int) -> nn.Module:
    """AlexNet for images of 32x32. B 3 32 32 → B classes.

    Dai et al. 2020 (SparseTrain) prune gradients in an AlexNet for CIFAR without listing its layers. Krizhevsky et
    al. 2012: five convolutions with ReLU and no batch norm, pooling after the first, second and fifth. Ours: the
    widths 64, 192, 384, 256, 256 of the later single-GPU version, pooling by 2, and one linear layer instead of three,
    since the last map is a single pixel. A layer whose ReLU follows directly is what their placement rule asks for.
    """
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, classes),
    )
