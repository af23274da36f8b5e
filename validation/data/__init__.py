"""Data sets by name: some ship inside packages that are installed anyway, the others are torchvision's."""

from validation.data import digits, pictures  # noqa: F401  # they fill the registry
from validation.data.images import Images, InMemory
from validation.data.registry import DATA, DataSet, Request, load_data, suited

__all__ = ["DATA", "DataSet", "Images", "InMemory", "Request", "load_data", "suited"]
