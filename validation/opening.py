"""From a wish to a study: everything that can be refused is refused here, before anything long begins."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from validation.contestants import Contestant, builder, check_network
from validation.data import Request, load_data, suited
from validation.data.registry import image_shape
from validation.engines import check_engine, threads_of
from validation.running.logs import check_tensorboard
from validation.running.trials import Study
from validation.training.rates import check_training
from validation.training.recipe import FINETUNE_RATE, SCRATCH_RATE

if TYPE_CHECKING:
    from advisor.network import Network, Shape
    from validation.wish import RunsWish


def check_wish(wish: RunsWish, *, halving: int | None = None) -> None:
    """What needs neither network nor data to be refused.

    Raises:
        AdvisorError: an engine, a recipe or logs that cannot be here.
    """
    check_engine(wish.engine)
    check_training(wish.recipe, wish.device, rate=wish.rate, halving=halving)
    if wish.tensorboard:
        check_tensorboard()


def open_study(
    wish: RunsWish,
    network: Network,
    contestants: tuple[Contestant, ...],
    *,
    shapes: tuple[Shape, ...],
    halving: int | None = None,
) -> tuple[Study, tuple[str, ...]]:
    """The data, and a study of the first contestants on it; more may join.

    Args:
        network: the dense one, analysed.
        shapes: what the network is built for.

    Returns:
        The study, and notes on data and network.

    Raises:
        AdvisorError: data that do not fit the network, or a network that is no classifier of it.
    """
    shape = image_shape(wish.model, network.input_shapes)
    request = Request(
        shape=shape,
        train_size=wish.train_size,
        test_size=wish.test_size,
        folder=wish.folder,
        download=wish.download,
    )
    data = load_data(wish.data or suited(shape), request)
    build = builder(wish.model, shapes)
    notes = (*data.notes, *check_network(wish.model, build(0), data))
    rate = FINETUNE_RATE if wish.checkpoint else SCRATCH_RATE
    study = Study(
        model=wish.model,
        contestants=contestants,
        seeds=tuple(range(wish.seeds)),
        data=data,
        recipe=replace(wish.recipe, epochs=wish.epochs, peak_rate=rate, device=wish.device),
        out=wish.out,
        build=build,
        checkpoint=wish.checkpoint,
        network=network,
        threads=threads_of(wish.engine, wish.threads),
        input_shapes=shapes,
        request=request,
        halving=halving,
    )
    return study, notes
