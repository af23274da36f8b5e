"""`advisor profile --suite --device cuda`: pieces of networks and their layers on the clock, and a fit to them.

`ceilings` measures the GPU's rates, `pieces` says what runs, `timing` how, `records` what a journal keeps, `measure` is
the way through. The fit is `devices.gpu.own_fit`: it needs no GPU.
"""
