"""The networks for MNIST of the paper on nonconvex sparse group lasso (Bui et al. 2021), as its code builds them."""

from __future__ import annotations

from torch import nn

from advisor.zoo.registry import register_network


@register_network("lenet5", input_shape=(1, 1, 28, 28), classes=10)
def lenet5(classes: int) -> nn.Module:
    """LeNet-5 as Caffe has it: convolutions of 20 and 50 channels, linear layers of 500 and `classes`.

    B 1 28 28 → B classes. 431 080 parameters for 10 classes.
    """
    return nn.Sequential(
        nn.Conv2d(1, 20, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(50 * 4 * 4, 500),
        nn.ReLU(),
        nn.Linear(500, classes),
    )


@register_network("cnn4", input_shape=(1, 1, 28, 28), classes=10)
def cnn4(classes: int) -> nn.Module:
    """The 4-layer CNN: convolutions of 32 and 64 channels without bias, linear layers of 1000 and `classes`.

    B 1 28 28 → B classes. 1 087 010 parameters for 10 classes; half of the 1000 drop out in training.
    """
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 1000),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(1000, classes),
    )
