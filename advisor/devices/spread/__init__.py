"""Profiles of many devices at once: those of a Ray cluster, one profile each."""
