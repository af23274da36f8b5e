"""Training methods: ordinary classes that any training loop can use, and options of `advisor validate --method`."""


def load_all() -> None:
    """Imports every file that registers a method."""
    from validation.methods.filters import method as filters  # noqa: F401
    from validation.methods.gradients import method as gradient_pruning  # noqa: F401
    from validation.methods.group_lasso import method as group_lasso  # noqa: F401
    from validation.methods.orthogonal import method as orthogonal  # noqa: F401
    from validation.methods.sparse import gradient_growth, incremental, masks, random_growth  # noqa: F401
