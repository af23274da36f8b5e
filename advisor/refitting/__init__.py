"""Kept weights fitted anew, so that a thinned layer gives what the dense one gave."""

from advisor.refitting.rebuild import Reconstructed, reconstruct, reconstruct_plan

__all__ = ["Reconstructed", "reconstruct", "reconstruct_plan"]
