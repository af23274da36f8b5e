"""Machines that exist on paper only: what a training step asks of them, and how a sparse one would do it."""
