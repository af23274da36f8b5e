"""A device profile carried over to another machine by a handful of its suite's pieces, run there.

`design.choose_pieces` says which, `here.run_pieces` runs them, `carry.transfer_device` makes the profile: every step
that the suite measured times a smooth ratio of the two machines (`ratio`), what lies between steps refitted (`refit`).
"""
