"""`advisor plan --validate-rounds`: by a validate that trains nothing, but writes what the real one writes."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

import advisor
from advisor.cli import Commands, run
from advisor.commands.network import open_network
from advisor.planning.sensitivity.trained_data import Responses, Run, load_responses, shapes_of

MODEL = "zoo:digits_cnn"


@click.command()
@click.argument("model")
@click.option("--plan", "plan_file")
@click.option("--responses")
@click.option("--out")
@click.option("--profile")
@click.option("--epochs", type=int, default=4)
def validate(model: str, plan_file: str, responses: str, out: str, profile: str | None, epochs: int) -> None:
    """Losses rise with the number of layers that are not dense; a few plans of single layers go along."""
    click.echo("a table of accuracies")
    plan = advisor.load_plan(plan_file)
    mine = {layer.name: layer.option for layer in plan.layers if layer.pattern != "dense"}
    plans = {"dense": {}, out: mine, **{name: {name: option} for name, option in mine.items()}}
    found = Responses(
        network=shapes_of(open_network(model, None)),
        settings={"s": {"epochs": epochs}},
        plans=plans,
        runs=tuple(
            Run(plan=key, settings="s", seed=seed, loss=1.0 + 0.1 * len(options), accuracy=0.5)
            for key, options in plans.items()
            for seed in range(2)
        ),
    )
    known = Path(responses)
    (load_responses(known).joined(found) if known.exists() else found).save(known)


@pytest.fixture(autouse=True)
def _validate(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Commands.get_command

    def found(self: Commands, context: click.Context, name: str) -> click.Command | None:
        return validate if name == "validate" else before(self, context, name)

    monkeypatch.setattr(Commands, "get_command", found)


def test_plans_are_trained_and_made_anew(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "runs", tmp_path / "plan.json"
    arguments = ["plan", MODEL, "--budget", "macs=40%", "--patterns", "channel", "--validate-rounds", "2", "--json"]
    assert run([*arguments, "--validate-out", str(folder), "--validate-with", "--epochs 1", "--out", str(out)]) == 0
    captured = capfd.readouterr()
    document = json.loads(captured.out)
    assert {item["cost"] for item in document["rounds"]} == {"loss"}
    assert "round 1: training; advisor validate zoo:digits_cnn --plan" in captured.err
    assert "a table of accuracies" in captured.err, "only the plan belongs to standard output"
    assert "--epochs 1" in captured.err
    assert advisor.load_plan(out).rounds
    assert load_responses(folder / "responses.json").settings == {"s": {"epochs": 1}}
    assert (folder / "round-1.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--validate-rounds", "2"], "--validate-rounds needs a folder for its runs: --validate-out DIR"),
        (["--validate-out", "runs"], "they need --validate-rounds N"),
        (["--validate-rounds", "1", "--validate-out", "runs", "--validate-with", "'"], "No closing quotation"),
        (["--validate-rounds", "1", "--validate-out", "{tmp}", "--validate-with", "--epoch-s 2"], "No such option"),
        (["--validate-rounds", "0", "--validate-out", "runs"], "0 is not in the range"),
        (["--refine", "2"], "nothing to refine"),
        (["--refine", "2", "--seconds", "0"], "0.0 is not in the range"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [word.replace("{tmp}", str(tmp_path)) for word in arguments]
    assert run(["plan", MODEL, "--budget", "macs=50%", "--patterns", "channel", *words]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert says in captured.err
    assert captured.err.splitlines()[-1].startswith("advisor: error: ")
