"""The shapes in which weights may go. Importing the package fills the registry, in the order of the options."""

from advisor.patterns import dense, channel, group, block, nm, unstructured, width  # noqa: F401, I001
from advisor.patterns import combined  # noqa: F401
