"""How a validation trains, asked on the page, and what its table says of that."""

import json
from pathlib import Path

from tests.figures import samples
from validation.page.report import watch
from validation.page.training import USUAL, words_of


def test_choices_become_words_of_the_command_line() -> None:
    assert words_of(USUAL) == []
    assert words_of((3, "auto", "bf16")) == ["--halving", "3", "--rate", "auto", "--amp", "bf16"]


def test_stopped_plans_p_values_and_steps_stand_in_the_table(tmp_path: Path) -> None:
    report = samples.report()
    report["summary"][1] |= {"difference_to_dense": {"mean": -0.07, "p": 0.01, "p_holm": 0.02}}
    report["summary"][1]["measured"]["training_step_ms"] = 12.3
    report["summary"][2]["stopped"] = "after epoch 1 of 4"
    (tmp_path / "report.json").write_text(json.dumps(report))
    dense, plan, stopped = watch(tmp_path).rows
    assert (plan["p beside dense"], plan["training step"]) == ("0.020", "12.3 ms")
    assert dense["p beside dense"] == "–"
    assert "training step" not in dense
    assert stopped["accuracy"] == "stopped early"
