"""Profiles to and from other people's tables: our own CSV, SPDY's timing files, nn-Meter's tables of kernels."""
