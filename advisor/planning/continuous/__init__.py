"""Densities between those of the grid: relaxed on curves through the grid's, then rounded to what can be kept."""
