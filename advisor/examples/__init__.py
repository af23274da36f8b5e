"""Data that a trained or freshly drawn network is looked at with: batches, their loss, and statistics of batch norm."""

from advisor.examples.given import NOTHING_GIVEN, Given

__all__ = ["NOTHING_GIVEN", "Given"]
