"""A GPU that need not be at hand: its times from a physical model whose coefficients were fitted to measurements."""
