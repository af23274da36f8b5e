"""Orthogonal convolutions in training, after Wang et al. 2020 (Orthogonal Convolutional Neural Networks).

In any training loop:

    orthogonality = Orthogonality(model, regularised(advisor.analyze(model, example_input)), strength=0.1)
    (loss(model(images), labels) + orthogonality.penalty()).backward()

`conv_orthogonality` judges a single weight.
"""

from validation.methods.orthogonal.existence import cautions, existence
from validation.methods.orthogonal.loss import conv_orthogonality, kernel_orthogonality, minimum
from validation.methods.orthogonal.method import Orthogonality, OrthogonalSettings, regularised
from validation.methods.orthogonal.spectrum import singular_values

__all__ = [
    "OrthogonalSettings",
    "Orthogonality",
    "cautions",
    "conv_orthogonality",
    "existence",
    "kernel_orthogonality",
    "minimum",
    "regularised",
    "singular_values",
]
