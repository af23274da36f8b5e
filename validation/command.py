"""`advisor validate` and `advisor app`: the commands of the floors above the library."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from advisor.commands.options import (
    big,
    json_option,
    model_argument,
    profile_option,
    split_names,
    table,
    threads_option,
)
from validation.engines.engine import EngineOptions
from validation.engines.options import engine_options

LOCAL = "127.0.0.1"
_RATE = "Peak learning rate of all plans; auto: by a sweep on the dense network."
_HALVING = "Successive halving: at each rung of epochs one plan of N goes on. Dense and the plan always do."


@click.command()
@model_argument
@click.option("--plan", "plan_file", metavar="PLAN", help="A plan file.")
@click.option(
    "--design",
    type=click.IntRange(min=1),
    metavar="N",
    help="Instead of a plan: N plans at the budgets that tell layers and patterns apart, to learn what each is worth.",
)
@click.option(
    "--budget",
    "budgets",
    multiple=True,
    metavar="KEY=VALUE",
    help="With --design: macs=20%; repeated, plans are drawn at each in turn; A=x,B=y holds both at once.",
)
@click.option("--patterns", metavar="A,B", help="With --design: patterns to draw from; channel, group, width.")
@click.option("--include-ends", is_flag=True, help="With --design: thin out the first convolution and classifier, too.")
@click.option("--responses", metavar="FILE", help="A collection that these runs are added to, for plan --responses.")
@click.option("--data", metavar="NAME", help="cluttered, mnist5k, digits, cifar10, cifar100, fashionmnist, imagenet.")
@click.option("--epochs", default=4, show_default=True, type=click.IntRange(min=1))
@click.option("--seeds", default=2, show_default=True, type=click.IntRange(min=1), help="Runs per plan.")
@click.option("--baselines", default="width,uniform,erk", show_default=True, metavar="A,B", help='"" for none.')
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    help="A run more, trained with a method of `advisor methods`: NAME[@dense|@plan][:key=value,...], several at once "
    "joined by +.",
)
@click.option("--optimizer", default="adam", show_default=True, metavar="NAME", help="adam, adamw, sgd or rmsprop.")
@click.option("--momentum", default=0.9, show_default=True, type=click.FloatRange(0, 1, max_open=True))
@click.option("--l2", default=0.0, type=click.FloatRange(0), help="Joins the gradient before the optimiser.")
@click.option("--weight-decay", default=0.0, type=click.FloatRange(0), help="Beside the gradient, as in AdamW.")
@click.option("--rate", default="fixed", show_default=True, metavar="fixed|auto|RATE", help=_RATE)
@click.option("--halving", type=click.IntRange(min=2), metavar="N", help=_HALVING)
@click.option("--amp", default="none", show_default=True, metavar="none|bf16|fp16", help="Train in mixed precision.")
@click.option("--channels-last/--no-channels-last", default=True, show_default=True, help="Order of axes in memory.")
@click.option("--compile/--no-compile", "compiled", default=False, help="Train what torch.compile makes.")
@click.option(
    "--curves/--no-curves", default=True, show_default=True, help="Test after every epoch, not just the last."
)
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard's logs into DIR/tensorboard.")
@engine_options
@click.option("--from", "checkpoint", metavar="CHECKPOINT", help="Trained weights: apply, recalibrate, fine-tune.")
@profile_option
@click.option("--train-size", type=click.IntRange(min=2), metavar="N", help="Training images; all by default.")
@click.option("--test-size", type=click.IntRange(min=1), metavar="N", help="Test images; all by default.")
@click.option("--data-dir", metavar="DIR", help="Where torchvision's data sets lie; ./data by default.")
@click.option("--download", is_flag=True, help="Let torchvision download the data set.")
@click.option("--device", default="cpu", show_default=True, metavar="cpu|cuda[:i]", help="Where the networks train.")
@threads_option
@click.option("--restart", is_flag=True, help="Throw away what an earlier validation left in DIR.")
@click.option("--out", required=True, metavar="DIR", help="Folder for runs and report.")
@json_option
def validate(
    model: str,
    plan_file: str | None,
    design: int | None,
    budgets: tuple[str, ...],
    patterns: str | None,
    include_ends: bool,
    responses: str | None,
    data: str | None,
    epochs: int,
    seeds: int,
    baselines: str,
    methods: tuple[str, ...],
    optimizer: str,
    momentum: float,
    l2: float,
    weight_decay: float,
    rate: str,
    halving: int | None,
    amp: str,
    channels_last: bool,
    compiled: bool,
    curves: bool,
    tensorboard: bool,
    engine: EngineOptions,
    checkpoint: str | None,
    profile_name: str | None,
    train_size: int | None,
    test_size: int | None,
    data_dir: str | None,
    download: bool,
    device: str,
    threads: int | None,
    restart: bool,
    out: str,
) -> tuple[dict[str, Any], str]:
    """Train MODEL shortly, dense, under PLAN and under plain alternatives at the same budgets, and write a report.

    Every run of a seed starts from the same dense weights and sees the same batches. Started again with the same
    arguments, it goes on where it stopped.

    \b
    Examples
      advisor validate zoo:digits_cnn --plan plan.json --epochs 4 --seeds 3 --out report/
      advisor validate zoo:digits_cnn --plan plan.json --epochs 9 --halving 3 --rate auto --out report/
      advisor validate torchvision:resnet18 --plan plan.json --data cifar10 --download --out report/
      advisor validate my_net.py:build --plan plan.json --from trained.pt --epochs 2 --out report/
      advisor validate zoo:digits_cnn --design 20 --budget macs=20% --epochs 2 --seeds 1 --out design/
    """
    from advisor.devices.profile import load_profile
    from advisor.devices.settings import cpu_threads
    from advisor.errors import AdvisorError, ModelError
    from advisor.plans.plan import load_plan
    from validation.engines import check_engine, check_place
    from validation.methods.registry import parse_methods
    from validation.study import Wish
    from validation.study import validate as run
    from validation.training.recipe import Recipe

    if (plan_file is None) == (design is None):
        raise AdvisorError("give either --plan FILE, to validate it, or --design N, to learn what layers are worth")
    if design is None and (budgets or patterns or include_ends):
        raise AdvisorError("--budget, --patterns and --include-ends belong to --design; a plan has its own")
    if design is not None and methods:
        raise AdvisorError("--method belongs to --plan; a design learns what layers are worth in plain training")
    check_engine(engine)
    applied = parse_methods(methods)
    if design is not None and halving is not None:
        raise AdvisorError("--halving belongs to --plan; a design learns from runs of one length")
    recipe = Recipe(
        optimizer=optimizer,
        momentum=momentum,
        l2=l2,
        weight_decay=weight_decay,
        amp=amp,
        channels_last=channels_last,
        compile=compiled,
        curves=curves,
    )
    weights = Path(checkpoint) if checkpoint else None
    if weights is not None and not weights.is_file():
        raise ModelError(f"weights: no file {str(weights)!r} here; check the path of --from")
    of_runs: dict[str, Any] = {
        "model": model,
        "out": Path(out),
        "data": data,
        "epochs": epochs,
        "seeds": seeds,
        "checkpoint": weights,
        "profile": load_profile(profile_name) if profile_name else None,
        "profile_name": profile_name,
        "train_size": train_size,
        "test_size": test_size,
        "folder": Path(data_dir) if data_dir else None,
        "download": download,
        "device": check_place(engine, device),
        "threads": threads,
        "restart": restart,
        "responses": Path(responses) if responses else None,
        "recipe": recipe,
        "rate": rate,
        "tensorboard": tensorboard,
        "engine": engine,
    }
    if plan_file is None:
        assert design is not None
        from validation.learning.survey import SurveyWish, survey, text_of

        asked = SurveyWish(
            **of_runs,
            plans=design,
            budgets=tuple(split_names(one) or () for one in budgets),
            patterns=split_names(patterns),
            include_ends=include_ends,
        )
        with cpu_threads(threads), _terminable(), _kept_in(out):
            surveyed = survey(asked)
        return surveyed, text_of(surveyed)
    wish = Wish(
        **of_runs,
        plan=load_plan(plan_file),
        plan_path=plan_file,
        baselines=tuple(dict.fromkeys(split_names(baselines) or ())),
        methods=applied,
        halving=halving,
    )
    with cpu_threads(threads), _terminable(), _kept_in(out):
        report = run(wish)
    return report, _text(report) + f"\nwrote {Path(out) / 'report.json'} and {Path(out) / 'report.html'}"


@contextmanager
def _kept_in(out: str) -> Iterator[None]:
    """Tells whoever stops the training that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"interrupted: finished runs and epochs are kept in {out}; run it again to go on", err=True)
        raise


@contextmanager
def _terminable() -> Iterator[None]:
    """Lets SIGTERM stop a validation as orderly as Ctrl-C."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _text(report: dict[str, Any]) -> str:
    told = any("latency" in item["predicted"] for item in report["summary"])
    headers = ["plan", "what it does", "accuracy", "95 % interval", "params", "MACs"]
    headers += ["predicted ms"] * told + ["measured ms"]
    rows = []
    for item in report["summary"]:
        measured, predicted, interval = item["measured"], item["predicted"], item["confidence_interval"]
        spread = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
        missing = "stopped" if item["stopped"] else "failed"
        mean = missing if item["mean"] is None else f"{item['mean']:.3f}"
        row = [item["plan"], item["way"], mean, spread, f"{measured['params']:,}", big(measured["macs"])]
        row += [f"{predicted['latency']:.3f}" if "latency" in predicted else ""] * told
        rows.append([*row, f"{measured['latency']:.3f}" if "latency" in measured else ""])
    lines = [table(headers, rows, right=(2, *range(4, len(headers)))), ""]
    lines += [report["verdict"]["text"]] if report["verdict"] else ["no thinned network finished"]
    lines += [f"baseline {name} is missing: {reason}" for name, reason in report["missing"].items()]
    lines += [f"note: {note}" for note in report["notes"]]
    return "\n".join(lines)


@click.command()
@click.option("--model", "models", multiple=True, metavar="SPEC", help="A network of yours to offer; may be repeated.")
@click.option("--host", default=LOCAL, show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option("--port", default=8501, show_default=True, type=click.IntRange(1, 65535))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def app(models: tuple[str, ...], host: str, port: int, arguments: tuple[str, ...]) -> None:
    """Open the Streamlit page, on this machine only unless another --host is given.

    What follows `--` goes to the page itself.

    \b
    Examples
      advisor app
      advisor app --model my_net.py:build --port 8600
      advisor app -- --profile my_machine.json
    """
    from importlib.util import find_spec

    from advisor.errors import AdvisorError

    found = find_spec("app")
    if found is None or found.origin is None:
        raise AdvisorError("the page (app.py) is not installed here; reinstall the package sparsity-advisor")
    _check_port(host, port)
    command = [sys.executable, "-m", "streamlit", "run", found.origin, "--server.address", host]
    command += ["--server.port", str(port), "--server.headless", "true", "--browser.gatherUsageStats", "false"]
    command += ["--server.fileWatcherType", "none", "--client.toolbarMode", "minimal"]
    command += ["--theme.primaryColor", "#0072b2"]  # the figures' blue
    command += ["--", *(word for model in models for word in ("--model", model)), *arguments]
    click.echo(f"page: http://{host}:{port}  (Ctrl-C ends it)", err=True)
    try:
        status = subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:  # the page got it, too, and has ended by itself
        return
    if status not in (0, -signal.SIGINT, -signal.SIGTERM):
        raise AdvisorError(f"the page ended with status {status}; what it said stands above")


def _check_port(host: str, port: int) -> None:
    from advisor.errors import AdvisorError

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise AdvisorError(
                f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port or --host"
            ) from error
