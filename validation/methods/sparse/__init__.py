"""Sparse training from the start: fixed masks, masks that grow (incremental), and masks that move (SET, RigL)."""
