"""The page as a script: what it shows for which choices. A real browser drives it in test_browser."""

import json
import sys
import threading
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import advisor
from advisor.zoo.digits import DigitsCNN
from tests.figures import samples
from validation.page.jobs import Desk
from validation.page.offer import offer_from

APP = str(Path(__file__).parent.parent / "app.py")


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Opens the page with arguments after `--` and an address."""

    def unsettled(*arguments: str, **query: str | list[str]) -> AppTest:
        monkeypatch.setattr(sys, "argv", [APP, "--home", str(tmp_path), *arguments])
        page = AppTest.from_file(APP, default_timeout=60)
        for key, value in query.items():
            page.query_params[key] = value
        return page

    def opened(*arguments: str, **query: str | list[str]) -> AppTest:
        return settled(unsettled(*arguments, **query))

    opened.unsettled = unsettled
    return opened


def settled(page: AppTest) -> AppTest:
    """Runs the page until no background work is going on, as its fragments do in a browser."""
    end = time.monotonic() + 60
    page.run()
    while page.status:
        assert time.monotonic() < end, page.status
        time.sleep(0.05)
        page.run()
    assert not page.exception
    return page


def press(page: AppTest, label: str) -> AppTest:
    next(button for button in page.button if button.label == label).click()
    return settled(page)


def words(page: AppTest) -> str:
    kinds = (page.markdown, page.caption, page.info, page.error, page.warning, page.header)
    return "\n".join(str(item.value) for kind in kinds for item in kind)


def test_one_click_gives_a_plan(start) -> None:
    page = start()
    assert "242 k** parameters" in words(page)
    assert "press **Plan**" in page.info[0].value
    assert not page.metric
    press(page, "Plan")
    labels = [tile.label for tile in page.metric]
    assert (labels[0], labels[-1]) == ("MACs ✓ ≤ 9.45 M", "Proven gap")
    assert "Proof." in words(page)
    assert not page.error


def test_plan_may_be_pressed_while_the_network_is_analysed(start, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    analyze = advisor.analyze
    monkeypatch.setattr(advisor, "analyze", lambda *given, **named: (gate.wait(30), analyze(*given, **named))[1])
    page = start.unsettled(model="zoo:lenet5", budget=["macs=50%"], patterns="channel")
    page.run()
    assert page.status  # still analysing
    next(button for button in page.button if button.label == "Plan").click()
    page.run()
    gate.set()
    assert "Proof." in words(settled(page))


def test_every_view_draws(start) -> None:
    page = press(start(model="zoo:digits_cnn", budget=["macs=50%"], patterns="channel"), "Plan")
    for view in ("Layer graph", "Pareto front", "Layers", "Validation", "Densities"):
        page.segmented_control(key="view").set_value(view)
        settled(page)
        assert page.query_params["view"] == view
        if view == "Layers":
            assert page.dataframe[0].value["layer"].iloc[0] == "features.0"
        elif view == "Validation":
            assert page.selectbox(key="data for cluttered").value == "cluttered"
        else:
            assert page.get("plotly_chart")


def test_the_address_restores_choices_and_finds_the_plan_again(start) -> None:
    address = {
        "model": "zoo:digits_cnn",
        "input": "1x1x32x32",
        "budget": ["macs=45%", "params=60%"],
        "patterns": "channel",
    }
    page = start(**address)
    assert page.text_input(key="budget params").value == "60%"
    press(page, "Plan")
    assert "1×1×32×32" in words(page)
    again = start(
        **{key: page.query_params[key] for key in ("model", "input", "patterns")} | {"budget": address["budget"]}
    )
    assert [tile.value for tile in again.metric] == [tile.value for tile in page.metric] != []


def test_other_choices_leave_the_old_plan_marked(start) -> None:
    page = press(start(model="zoo:digits_cnn", budget=["macs=55%"], patterns="channel"), "Plan")
    page.text_input(key="budget macs").set_value("25%")
    settled(page)
    assert "choices have changed" in page.info[0].value
    assert page.metric
    assert page.query_params["budget"] == "macs=25%"


def test_wrong_input_is_told_at_once_and_plan_is_off(start) -> None:
    page = start()
    page.text_input(key="budget macs").set_value("ten apples")
    settled(page)
    assert "ten apples" in words(page)
    assert next(button for button in page.button if button.label == "Plan").disabled
    page.text_input(key="budget macs").set_value("")
    settled(page)
    assert "no budget yet" in words(page)
    page.text_input(key="input").set_value("1x1xbig")
    settled(page)
    assert "Mend the input shape" in words(page)


def test_times_need_a_profile(start) -> None:
    page = start(model="zoo:digits_cnn", budget=["latency=50%"])
    assert page.text_input(key="budget latency").disabled
    assert "no budget yet" in words(page)


def test_a_budget_out_of_reach_is_one_line(start) -> None:
    page = press(start(model="zoo:digits_cnn", budget=["macs=1k"], patterns="channel"), "Plan")
    (error,) = page.error
    assert "macs" in error.value
    assert "\n" not in error.value
    assert "Traceback" not in words(page)
    assert not page.metric


def test_an_address_runs_no_code(start, tmp_path: Path) -> None:
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'sprung')!r}, 'w').close()\n")
    page = start(model=f"{trap}:build")
    assert "started with --model" in page.warning[0].value
    assert page.selectbox(key="network zoo").value == "digits_cnn"
    assert not (tmp_path / "sprung").exists()


def test_a_file_given_at_start_is_offered(start, tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(
        "from torch import nn\n\ndef build():\n"
        "    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), (1, 8)\n"
    )
    page = start("--model", f"{path}:build")
    assert page.header[0].value == f"{path}:build"
    assert "192** MACs" in words(page)
    (kinds,) = [box for box in page.selectbox if box.label == "Sensitivity"]
    assert "magnitude" in kinds.options


def test_a_file_that_raises_is_one_line(start, tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("def build():\n    raise ValueError('not today')\n")
    page = start("--model", f"{path}:build")
    (error,) = page.error
    assert "not today" in error.value
    assert "bad.py:2" in error.value


def test_wrong_arguments_are_one_line(start) -> None:
    page = start("--nonsense")
    assert "--nonsense" in page.error[0].value


def test_a_finished_validation_is_shown(start, tmp_path: Path) -> None:
    page = press(start(model="zoo:digits_cnn", budget=["macs=50%"], patterns="channel", view="Validation"), "Plan")
    assert not page.dataframe
    question = page.session_state["restored"].question
    folder = offer_from(["--home", str(tmp_path)]).folder(
        "validations", question, 0, "cluttered", 2, 2, ("uniform", "erk", "width"), (), (0, "fixed", "none")
    )
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(samples.report() | {"verdict": {"text": "width wins here"}}))
    settled(page)
    assert page.info[0].value == "width wins here"
    assert list(page.dataframe[0].value["plan"]) == ["dense", "plan", "diverged"]


def test_training_methods_are_one_run_more_each(start, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(Desk, "command", lambda self, key, arguments, folder: asked.append(arguments))
    page = press(start(model="zoo:digits_cnn", budget=["macs=50%"], patterns="channel", view="Validation"), "Plan")
    page.multiselect(key="methods").set_value(["rigl", "orthogonal"])
    press(page, "Start")
    words_asked = asked[0]
    assert [words_asked[i + 1] for i, word in enumerate(words_asked) if word == "--method"] == ["rigl", "orthogonal"]


def test_how_to_train_is_passed_on(start, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(Desk, "command", lambda self, key, arguments, folder: asked.append(arguments))
    page = press(start(model="zoo:digits_cnn", budget=["macs=50%"], patterns="channel", view="Validation"), "Plan")
    page.selectbox(key="halving").set_value(3)
    page.selectbox(key="rate").set_value("auto")
    press(page, "Start")
    [arguments] = asked
    assert arguments[arguments.index("--halving") :][:4] == ["--halving", "3", "--rate", "auto"]
    assert "--amp" not in arguments


def test_losses_on_data_are_one_choice_more(start) -> None:
    page = start(model="zoo:digits_cnn", budget=["macs=50%"], sensitivity="snip")
    assert "looks at labelled images: choose its data" in words(page)
    page.selectbox(key="sensitivity data").set_value("cluttered")
    press(settled(page), "Plan")
    assert page.query_params["data"] == "cluttered"
    assert "Proof." in words(page)
    assert not page.error


def test_a_layer_changed_by_hand_changes_all_totals_at_once(start) -> None:
    page = press(start(model="zoo:digits_cnn", budget=["macs=50%"], patterns="channel", view="What if"), "Plan")
    before = {tile.label: tile.value for tile in page.metric}
    loss = before["Estimated loss"]
    page.selectbox(key="subject 0").set_value("features.8")
    settled(page)
    assert "features.8: " in words(page)
    (option,) = [box for box in page.selectbox if box.label == "Option"]
    assert "dense" in option.options
    option.set_value(len(option.options) - 1)  # the thinnest
    settled(page)
    now = {tile.label: tile.value for tile in page.metric}
    assert float(now["Estimated loss"]) > float(loss)
    deltas = {tile.label: tile.delta for tile in page.metric}
    assert deltas["Estimated loss"].startswith("+")
    assert deltas["Parameters"].startswith("-")
    assert list(page.dataframe[0].value["layer"]) == ["features.8"]
    press(page, "Undo all")
    assert {tile.label: tile.value for tile in page.metric} == before


def test_what_was_changed_by_hand_can_be_pinned(start) -> None:
    page = press(start(model="zoo:digits_cnn", budget=["macs=50%"], patterns="channel", view="What if"), "Plan")
    page.selectbox(key="subject 0").set_value("features.8")
    settled(page)
    (option,) = [box for box in page.selectbox if box.label == "Option"]
    option.set_value(len(option.options) - 1)
    settled(page)
    press(page, "Pin these")
    (pinned,) = page.multiselect(key="pins").value
    assert pinned.startswith("features.8=channel d=")
    assert page.query_params["pin"] == pinned
    assert "choices have changed" in page.info[0].value
    press(page, "Plan")
    assert not page.error
    page.segmented_control(key="view").set_value("Layers")
    settled(page)
    rows = page.dataframe[0].value
    assert f"{float(rows[rows['layer'] == 'features.8']['density'].iloc[0]):.4g}" in pinned


def test_pins_and_forbidden_patterns_come_from_the_address(start) -> None:
    page = start(
        model="zoo:digits_cnn",
        budget=["macs=60%"],
        patterns="channel,group",
        pin=["features.4=dense", "nonsense"],
        forbid=["features.*=group"],
    )
    assert "'nonsense'; expected LAYER=OPTION" in page.warning[0].value
    assert page.multiselect(key="pins").value == ["features.4=dense"]
    press(page, "Plan")
    page.segmented_control(key="view").set_value("Layers")
    settled(page)
    rows = page.dataframe[0].value
    assert rows[rows["layer"] == "features.4"]["pattern"].iloc[0] == "dense"
    assert set(rows["pattern"]) <= {"dense", "channel", ""}


def test_a_pin_that_cannot_be_is_one_line(start) -> None:
    page = start(model="zoo:digits_cnn", budget=["macs=60%"], patterns="channel", pin="features.0=channel@0.5")
    press(page, "Plan")
    (error,) = page.error
    assert "features.0" in error.value
    assert "\n" not in error.value


def test_the_front_keeps_to_what_is_pinned(start) -> None:
    pinned = {"pin": "features.8=dense", "forbid": "features.12=channel"}
    page = press(
        start(model="zoo:digits_cnn", budget=["macs=90%"], patterns="channel", view="Pareto front", **pinned), "Plan"
    )
    slider = next(item for item in page.select_slider if item.label == "Plan on the front")
    network = advisor.analyze(DigitsCNN(), (1, 1, 40, 40))
    dense = sum(network.layer(name).macs for name in ("features.0", "features.8", "features.12", "classifier"))
    least = float(slider.options[-1].split()[0].rstrip("%"))
    assert 100 * dense / network.macs < least < 100


def test_the_front_answers_at_once_and_gives_budgets(start) -> None:
    page = press(start(model="zoo:digits_cnn", budget=["macs=50%"], patterns="channel", view="Pareto front"), "Plan")
    slider = next(item for item in page.select_slider if item.label == "Plan on the front")
    losses = []
    for place in (1, len(slider.options) - 2):
        next(item for item in page.select_slider if item.label == "Plan on the front").set_value(place)
        settled(page)
        losses.append(float(next(tile.value for tile in page.metric if tile.label == "Estimated loss")))
    assert losses[0] < losses[1]
    press(page, "Take as budget")
    assert page.text_input(key="budget macs").value.endswith("%")
    assert page.text_input(key="budget macs").value != "50%"
    press(page, "Plan")
    assert not page.error
    assert "✓" in page.metric[0].label
