"""Sparse training from the start: fixed masks, masks that grow (incremental), and masks that move (SET, RigL).

Any training loop can use the classes: make the module, attach a method to it and its optimiser, and call the method's
hooks (see `validation.methods.method`).

    module = masked_module(dense, plan)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    method = RigL(module, plan, optimizer, end=25_000)
"""

from validation.methods.sparse.gradient_growth import RigL
from validation.methods.sparse.incremental import Incremental, growing_weights
from validation.methods.sparse.masks import Masked, MaskedWeight, masked_weights
from validation.methods.sparse.modules import masked_module, with_connections
from validation.methods.sparse.random_growth import SET

__all__ = [
    "SET",
    "Incremental",
    "Masked",
    "MaskedWeight",
    "RigL",
    "growing_weights",
    "masked_module",
    "masked_weights",
    "with_connections",
]
