"""What each layer may become: patterns at their densities, width levels and what ties them, both at once."""
