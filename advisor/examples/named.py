"""Data by name on the command line: a data set that a package above offers, or a function of the user's own."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from advisor.errors import DataError

if TYPE_CHECKING:
    from advisor.examples.batches import Calibration
    from advisor.network import Shape

GROUP = "advisor.data"
FORMS = "a data set's name (digits, cifar10), path/to/file.py:FACTORY or package.module:FACTORY"


class Source(Protocol):
    """What an entry point of the group "advisor.data" offers: labelled batches of a data set."""

    def __call__(self, name: str, shapes: tuple[Shape, ...], *, examples: int, seed: int, folder: Path | None) -> Any:
        """Batches of (inputs, targets) that fit a network of these input shapes.

        Raises:
            DataError: an unknown name, or data that does not fit or is not here.
        """
        ...


def named_data(
    text: str, shapes: tuple[Shape, ...], *, examples: int, seed: int = 0, folder: Path | None = None
) -> Calibration:
    """What `--data TEXT` means.

    A factory returns what `calibration` takes, or (that, loss).

    Raises:
        DataError: nothing of that name, a function that fails, or data of another form.
    """
    from advisor.examples.batches import calibration
    from advisor.factories import load_factory, users_mistakes

    what = f"data {text!r}"
    if ":" in text:
        factory = load_factory(text, FORMS, what="data", error=DataError)
        with users_mistakes(text, "data", DataError):
            made = factory()
        loss = None
        if isinstance(made, tuple) and len(made) == 2 and _is_loss(made[1]):
            made, loss = made
        return calibration(made, loss=loss, examples=examples, seed=seed, what=what)
    sources = entry_points(group=GROUP)
    if not sources:
        raise DataError(f"{what}: no data sets are installed; reinstall the package, or write path/to/file.py:FACTORY")
    source: Source = next(iter(sources)).load()
    batches = source(text, shapes, examples=examples, seed=seed, folder=folder)
    return calibration(batches, examples=examples, seed=seed, what=what)


def _is_loss(item: Any) -> bool:
    import torch

    return callable(item) and not isinstance(item, torch.utils.data.Dataset | torch.Tensor)
