"""Networks that no package has, by name: those of the source papers, and the one of the demo."""

from advisor.zoo import digits
from advisor.zoo.registry import ZOO, Entry, register_network

__all__ = ["ZOO", "Entry", "digits", "register_network"]
