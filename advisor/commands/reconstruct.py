"""`advisor reconstruct`: kept weights fitted anew, so that a thinned network gives what the trained dense one gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from advisor.commands.options import input_option, json_option, model_argument, table
from advisor.errors import PlanError

if TYPE_CHECKING:
    from advisor.refitting.rebuild import Reconstructed


@click.command()
@model_argument
@click.option("--plan", "plan_file", required=True, metavar="PLAN", help="What is thinned out.")
@click.option(
    "--weights", metavar="FILE", help="The network's trained weights; those that the factory gives otherwise."
)
@click.option(
    "--data",
    required=True,
    metavar="NAME|FILE.py:FACTORY",
    help="Examples: a data set that validate knows, or a function of yours. Their labels are not looked at.",
)
@click.option("--data-dir", metavar="DIR", help="Where torchvision's data sets lie; ./data by default.")
@click.option("--examples", default=256, show_default=True, type=click.IntRange(min=1), help="How many are looked at.")
@click.option(
    "--ridge", default=1e-3, show_default=True, type=click.FloatRange(min=0, min_open=True), help="Pull to old weights."
)
@click.option("--keep-norms", is_flag=True, help="Leave batch norms' statistics as they are.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--out", required=True, metavar="FILE.safetensors", help="Where to write the weights.")
@input_option
@json_option
def reconstruct(
    model: str,
    plan_file: str,
    weights: str | None,
    data: str,
    data_dir: str | None,
    examples: int,
    ridge: float,
    keep_norms: bool,
    seed: int,
    out: str,
    input_text: str | None,
) -> tuple[dict[str, Any], str]:
    """Fit the kept weights of a trained MODEL under a plan to give what the dense layers gave (least squares).

    The file holds the state of the network in plain dense layers: narrower where the plan narrows, with zeros where it
    masks. Without width it loads into the dense network, with width into plan.apply(model), which is narrower.

    \b
    Examples
      advisor plan my_net.py:build --weights net.pt --selection magnitude --budget macs=30% --out plan.json
      advisor reconstruct my_net.py:build --weights net.pt --plan plan.json --data d.py:make --out thin.safetensors
      advisor reconstruct zoo:digits_cnn --weights net.pt --plan plan.json --data cluttered --out thin.safetensors
    """
    from pathlib import Path

    import advisor
    from advisor.examples.named import named_data
    from advisor.models import load_model, load_weights
    from advisor.plans.match import check_model
    from advisor.refitting.rebuild import reconstruct_plan

    if not Path(out).parent.is_dir() or not out.endswith(".safetensors"):
        raise PlanError(f"--out {out}: expected a file name in an existing folder that ends with .safetensors")
    if weights is None and model.partition(":")[0] in ("torchvision", "timm", "zoo"):
        raise PlanError(
            f"{model} comes without trained weights, and reconstructing starts from them; give --weights FILE"
        )
    plan = advisor.load_plan(plan_file)
    loaded = load_model(model, input_text=input_text, device="cpu", seed=0)
    if weights is not None:
        load_weights(loaded.module, weights)
    check_model(plan, loaded.module)  # before the data is read
    folder = Path(data_dir) if data_dir else None
    found = named_data(data, plan.input_shapes, examples=examples, seed=seed, folder=folder)
    made = reconstruct_plan(plan, loaded.module, found, ridge=ridge, norms=not keep_norms, seed=seed)
    _save(made, out, plan_file)
    document = {
        "out": out,
        "errors": {name: {"before": before, "after": after} for name, (before, after) in made.errors.items()},
        "skipped": dict(made.skipped),
        "norms": made.norms,
    }
    rows = [[name, f"{100 * before:.2f} %", f"{100 * after:.2f} %"] for name, (before, after) in made.errors.items()]
    lines = [table(["layer", "error before", "after"], rows, right=(1, 2))]
    lines += [f"layer {name} keeps its weights: {reason}" for name, reason in made.skipped.items()]
    lines += [f"{made.norms} batch norms measured anew"] if made.norms else []
    return document, "\n".join([*lines, f"wrote {out}"])


def _save(made: Reconstructed, out: str, plan_file: str) -> None:
    """The state of the network in plain layers, in one piece."""
    import copy

    from safetensors.torch import save

    from advisor.files import write_bytes
    from advisor.plans.again import dense_again

    plain = dense_again(copy.deepcopy(made.module))
    # Tied tensors are written once for each name: safetensors refuses shared memory.
    state = {name: value.detach().clone().contiguous() for name, value in plain.state_dict().items()}
    write_bytes(out, save(state, metadata={"plan": plan_file}))
