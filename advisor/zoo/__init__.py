"""Networks that no package has, by name: those of the source papers, and the one of the demo."""

from advisor.zoo import (
    basicnet,
    digits,
    hat_net,
    lenet,
    resnet_cifar,
    small_papers,
    transcnn,
    vgg16n,
    wide_resnet,
)
from advisor.zoo.registry import ZOO, Entry, register_network

__all__ = [
    "ZOO",
    "Entry",
    "basicnet",
    "digits",
    "hat_net",
    "lenet",
    "register_network",
    "resnet_cifar",
    "small_papers",
    "transcnn",
    "vgg16n",
    "wide_resnet",
]
