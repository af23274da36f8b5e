"""What an estimate of losses may need beside the network: trained weights, and data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from advisor.errors import PlanError

if TYPE_CHECKING:
    from advisor.examples.batches import Calibration
    from advisor.network import Network

F = TypeVar("F", bound=Callable[..., Any])

SENSITIVITIES = "erk|er|uniform|magnitude|lamp|synflow|synflow100|snip|grasp|fisher|taylor1|taylor2|probe|trained"
SELECTIONS = "random|magnitude|taylor|fisher"
_UNTRAINED = ("torchvision", "timm", "zoo")  # built without downloads, so with random weights
_FRESH = "losses are those of freshly drawn weights (seed 0), as suits a network that is yet to be trained"


responses_option = click.option(
    "--responses", metavar="FILE", help="What training runs of this network's plans reached, for trained: by validate."
)


def data_options(function: F) -> F:
    """Adds `--data`, `--examples` and `--data-dir`."""
    for option in (
        click.option("--data-dir", metavar="DIR", help="Where torchvision's data sets lie; ./data by default."),
        click.option(
            "--examples",
            default=256,
            show_default=True,
            type=click.IntRange(min=1),
            help="How many examples of the data are looked at.",
        ),
        click.option(
            "--data",
            metavar="NAME|FILE.py:FACTORY",
            help="Labelled examples: a data set that validate knows, or a function of yours that returns batches of "
            "(inputs, targets), or such batches and a loss.",
        ),
    ):
        function = option(function)
    return function


def calibration_of(
    data: str | None, network: Network, *, examples: int, seed: int, folder: str | None
) -> Calibration | None:
    """The examples that `--data` names; None without it."""
    if data is None:
        return None
    from advisor.examples.named import named_data

    return named_data(data, network.input_shapes, examples=examples, seed=seed, folder=Path(folder) if folder else None)


def open_for_planning(
    model: str,
    input_text: str | None,
    weights: str | None,
    *,
    sensitivity: str,
    selection: str = "random",
    timed: bool = False,
) -> tuple[Network, tuple[str, ...]]:
    """The network, with real weights where they are needed: the user's file's, or those that the factory gives.

    One that is going to be `timed` has weights in memory, whatever they are.

    Returns:
        The network, and notes on where its weights come from.

    Raises:
        PlanError: trained weights are needed, none were given, and the model comes with random ones; or an unknown
            sensitivity.
    """
    from advisor.commands.network import open_network
    from advisor.planning.selections import check_name
    from advisor.planning.sensitivity import sensitivity_named

    chosen = sensitivity_named(sensitivity)
    check_name(selection)
    ranks = selection if selection != "random" else sensitivity
    needed = chosen.reads_weights or selection != "random"
    fresh = weights is None and model.partition(":")[0] in _UNTRAINED
    if needed and fresh and (chosen.trained or selection != "random"):
        raise PlanError(
            f"{model} comes without trained weights, and {ranks} looks at trained ones; give --weights FILE, or leave "
            "--sensitivity and --selection at erk and random"
        )
    network = open_network(model, input_text, weights=weights, device="cpu" if needed or timed else "meta")
    return network, (_FRESH,) if needed and fresh else ()
