"""How long layers and networks take, sparse beside dense: the parts of `benchmarks/runtime.py`."""
