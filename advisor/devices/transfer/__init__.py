"""From a profile of one machine and a handful of times on another one to a profile of that one.

`design.choose` says which work to time there, `model.RatioModel` learns how the machines differ, `carry.transfer` makes
the profile.
"""
