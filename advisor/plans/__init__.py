"""Plans: their file, their masks, what is made of them. `schema` is the file's contract with whoever reads it."""

from typing import Any


def schema() -> dict[str, Any]:
    """The JSON Schema of plan files, a fresh copy. It is in the package as `advisor/plans/plan.schema.json`."""
    from copy import deepcopy

    from advisor.plans.document import schema as published

    return deepcopy(published())
