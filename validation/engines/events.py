"""What a worker tells while it runs a trial, as plain JSON, and how a monitor hears it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from validation.running.progress import Watcher
from validation.training.recipe import EpochResult

Event = dict[str, Any]  # "event" names it
EVERY_SECONDS = 0.25  # between two messages about steps


class Teller:
    """A `Watcher` that sends everything elsewhere."""

    def __init__(self, send: Callable[[Event], None]) -> None:
        self._send = send
        self._steps = 0
        self._told = time.perf_counter()

    def start(self, run: str, epochs: int) -> None:
        self._tell("start", run=run, epochs=epochs)

    def at(self, steps: int) -> None:
        self._tell("at", steps=steps)

    def epoch(self, number: int, text: str = "") -> None:
        self._tell("epoch", number=number, text=text)

    def step(self, count: int = 1) -> None:
        self._steps += count
        if time.perf_counter() - self._told > EVERY_SECONDS:
            self._flush()

    def saved(self, history: Sequence[EpochResult]) -> None:
        self._tell("saved", history=[epoch.to_json() for epoch in history])

    def say(self, text: str) -> None:
        self._tell("say", text=text)

    def _flush(self) -> None:
        self._told = time.perf_counter()
        if self._steps:
            self._send({"event": "step", "count": self._steps})
            self._steps = 0

    def _tell(self, event: str, **what: Any) -> None:
        self._flush()
        self._send({"event": event, **what})


def hear(event: Mapping[str, Any], watcher: Watcher) -> None:
    """Hands an event of a `Teller` to a watcher of this process."""
    match event["event"]:
        case "start":
            watcher.start(event["run"], event["epochs"])
        case "at":
            watcher.at(event["steps"])
        case "epoch":
            watcher.epoch(event["number"], event["text"])
        case "step":
            watcher.step(event["count"])
        case "saved":
            watcher.saved([EpochResult(**epoch) for epoch in event["history"]])
        case "say":
            watcher.say(event["text"])
