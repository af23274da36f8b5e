"""Implicit filter sparsity (Mehta, Kim and Theobalt 2019): finding filters that have died, and taking them out."""
