"""What a run tells travels as JSON and arrives as it was told."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from validation.engines.events import Event, Teller, hear
from validation.training.recipe import EpochResult


class Notes:
    """A watcher that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def start(self, run: str, epochs: int) -> None:
        self.told.append(("start", run, epochs))

    def at(self, steps: int) -> None:
        self.told.append(("at", steps))

    def epoch(self, number: int, text: str = "") -> None:
        self.told.append(("epoch", number, text))

    def step(self, count: int = 1) -> None:
        self.told.append(("step", count))

    def saved(self, history: Sequence[EpochResult]) -> None:
        self.told.append(("saved", *history))

    def say(self, text: str) -> None:
        self.told.append(("say", text))


def test_everything_arrives_in_order_and_steps_in_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("validation.engines.events.EVERY_SECONDS", 1e9)
    notes, lines = Notes(), 0
    epoch = EpochResult(loss=1.25, accuracy=0.5, seconds=2.0, numbers={"alive": 3.0}, test_loss=1.5)

    def send(event: Event) -> None:
        nonlocal lines
        lines += 1
        hear(json.loads(json.dumps(event)), notes)

    teller = Teller(send)
    teller.start("plan-0", 2)
    teller.at(8)
    teller.epoch(2, "loss 1.2")
    for _ in range(8):
        teller.step()
    teller.saved([epoch, epoch])
    teller.say("diverged")
    assert notes.told == [
        ("start", "plan-0", 2),
        ("at", 8),
        ("epoch", 2, "loss 1.2"),
        ("step", 8),
        ("saved", epoch, epoch),
        ("say", "diverged"),
    ]
    assert lines == 6


def test_steps_are_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("validation.engines.events.EVERY_SECONDS", -1.0)
    events: list[Event] = []
    teller = Teller(events.append)
    for _ in range(3):
        teller.step(2)
    assert events == [{"event": "step", "count": 2}] * 3
