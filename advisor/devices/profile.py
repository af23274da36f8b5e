"""What is known about one device: times of executions and of whole networks, and how far its predictions are off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from advisor.devices.energy import Coefficients
from advisor.devices.settings import (
    ANY_BATCH,
    Machine,
    Settings,
    device_type,
    kernel_differences,
    machine_differences,
    this_machine,
)
from advisor.devices.times import Measurement, Origin, StepTime, Whole
from advisor.errors import ProfileError, unknown

if TYPE_CHECKING:
    from advisor.devices.measuring.drift import Pace
    from advisor.devices.model.device import DeviceModel
    from advisor.devices.model.threads import Threads
    from advisor.devices.predicting.estimator import Estimator
    from advisor.devices.predicting.predict import Predictor
    from advisor.devices.suite.table import Table
    from advisor.network import Network
    from advisor.runtime.execution import Execution
    from advisor.runtime.methods import Method

__all__ = [
    "Measurement", "Origin", "Profile", "StepTime", "Whole", "check_profile", "list_profiles", "load_profile",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Times of one device under one setting. `origin` says where they come from."""

    name: str
    origin: Literal["measured", "calibrated", "analytic", "simulated"]
    source: str  # how it came about, for people
    created: str  # ISO date
    machine: Machine | None
    settings: Settings | None  # None: holds no times
    measurements: Mapping[str, Measurement]
    networks: Mapping[str, Whole]  # by Whole.key
    unmeasured: tuple[str, ...] = ()
    error: Mapping[str, float | int | str] | None = None
    energy: Coefficients | None = None
    notes: tuple[str, ...] = field(default=())
    steps: Mapping[str, StepTime] = field(default_factory=dict)  # by Step.key: operators that are no layers, in place
    tables: tuple[Table, ...] = ()  # of a device profile: what the suite measured, one for each setting
    model: Mapping[str, Any] | None = None  # of a calibrated or analytic one: the coefficients
    fitted: dict[int, DeviceModel] = field(default_factory=dict, repr=False, compare=False)  # id of a table → its model

    def latency(self, execution: Execution) -> Measurement:
        """The time of `execution`: measured, or predicted with an interval; `origin` says which.

        Raises:
            ProfileError: the profile holds no times.
        """
        known = self.measurements.get(execution.key)
        if known is None:  # a folded batch norm gives a layer a bias, which no clock sees
            known = self.measurements.get(replace(execution, bias=not execution.bias).key)
        if known is not None:
            return known
        if (guess := self._guesses.get(execution)) is not None:
            return guess
        estimate = self.estimator.layer(execution) if self.estimator else self._predictor(execution)
        self._guesses[execution] = Measurement(
            execution=execution,
            median_ms=estimate.median_ms,
            low_ms=estimate.low_ms,
            high_ms=estimate.high_ms,
            repeats=0,
            origin=estimate.origin,
        )
        return self._guesses[execution]

    def look_ahead(self, executions: Iterable[Execution]) -> None:
        """Prepares `latency` for many executions at once, where that is quicker than one by one: device profiles."""
        from advisor.devices.predicting.estimator import LooksAhead

        if self.tables and isinstance(self.estimator, LooksAhead):
            self.estimator.look_ahead(executions)

    @cached_property
    def methods(self) -> frozenset[Method]:
        """The methods that it has timed: it says nothing about others."""
        if self.tables:
            steps = (step for table in self.tables for piece in table.pieces for step in piece.steps)
            return frozenset(step.execution.method for step in steps if step.execution is not None)
        if self.model is not None:
            return frozenset({"dense"})
        return frozenset(m.execution.method for m in self.measurements.values())

    @cached_property
    def estimator(self) -> Estimator | None:
        """Predicts any operator and any run under `settings`; None for a profile of one network's measurements."""
        if self.tables and self.settings is not None:
            return self._model_at(self._table(self.settings.threads, self.settings.training))
        if self.model is not None:
            from advisor.devices.gpu.model import GpuModel

            return GpuModel.from_document(self.model)
        return None

    def _model_at(self, found: Table | Threads) -> Estimator:
        from advisor.devices.model.threads import Threads, ThreadsModel

        if isinstance(found, Threads):
            return ThreadsModel(found, self._model_of(found.fewer), self._model_of(found.more))
        return self._model_of(found)

    def _model_of(self, table: Table) -> DeviceModel:
        """Fitted once for this profile and for what `at` makes of it."""
        from advisor.devices.model.device import DeviceModel

        if id(table) not in self.fitted:  # the model holds the table, so its id stays its own
            self.fitted[id(table)] = DeviceModel(table)
        return self.fitted[id(table)]

    def at(self, *, batch: int | None = None, threads: int | None = None, training: bool | None = None) -> Profile:
        """A device profile under other settings; what is None stays. Any other profile: itself.

        Raises:
            ProfileError: it holds no such number of threads, nor fewer and more, or no training.
        """
        made = self.settings
        if made is None or not (self.tables or self.model is not None):
            return self
        threads = made.threads if threads is None else threads
        training = made.training if training is None else training
        if self.tables:
            self._table(threads, training)
        asked = replace(made, batch=made.batch if batch is None else batch, threads=threads, training=training)
        if asked not in self._others:
            self._others[asked] = self if asked == made else replace(self, settings=asked)
        return self._others[asked]

    @cached_property
    def _others(self) -> dict[Settings, Profile]:
        return {}

    def _table(self, threads: int, training: bool) -> Table | Threads:
        from advisor.devices.model.threads import around

        for table in self.tables:
            if (table.threads, table.training) == (threads, training):
                return table
        if (between := around(self.tables, threads, training)) is not None:
            return between
        asked = f"{threads} thread{'' if threads == 1 else 's'}, {'training' if training else 'inference'}"
        raise ProfileError(
            f"profile {self.name!r} holds {'; '.join(table.text for table in self.tables)}; asked for {asked}: "
            "make one with these settings (advisor profile --suite)"
        )

    @property
    def pace(self) -> Pace | None:
        """How fast the machine was in the quiet part of a device profile's session; None of any other profile."""
        if not self.tables or self.settings is None:
            return None
        return self._table(self.settings.threads, self.settings.training).pace

    @property
    def device(self) -> str:
        """ "cpu" or "cuda"."""
        return self.settings.device if self.settings else "cpu"

    @cached_property
    def _guesses(self) -> dict[Execution, Measurement]:
        return {}

    @cached_property
    def _predictor(self) -> Predictor:
        from advisor.devices.predicting.predict import Predictor

        if not self.measurements:
            raise ProfileError(
                f"profile {self.name!r} ({self.origin}) holds no times; make one with: advisor profile MODEL --out FILE"
            )
        return Predictor(list(self.measurements.values()))

    def whole(self, network: Network) -> Whole | None:
        """The whole network with these layers and inputs, under whatever name: measured, or predicted by a device
        profile. None where there is none.
        """
        from advisor.devices.measuring.work import network_hash

        wanted: str | None = None
        for known in self.networks.values():
            if known.input_shapes != network.input_shapes:
                continue
            if not known.network_hash and known.model == network.name:
                return known
            wanted = wanted or network_hash(network)
            if known.network_hash == wanted:
                return known
        if self.estimator is None or network.module is None:
            return None
        return self._predicted(network)

    def _predicted(self, network: Network) -> Whole:
        from advisor.devices.predicting.whole import predicted_whole

        if id(network) not in self._wholes:
            self._wholes[id(network)] = (network, predicted_whole(network, self))
        return self._wholes[id(network)][1]

    @cached_property
    def _wholes(self) -> dict[int, tuple[Network, Whole]]:
        return {}  # with the network itself, so that its id stays its own

    def check(
        self,
        *,
        device: str | None = None,
        batch: int | None = None,
        threads: int | None = None,
        dtype: str | None = None,
        training: bool | None = None,
        number: str | None = None,
        channels_last: bool | None = None,
        flush_l2: bool | None = None,
    ) -> tuple[str, ...]:
        """Refuses a profile that was made under other settings than asked for; None means: not asked.

        Returns:
            Warnings: how this machine differs from the profile's.

        Raises:
            ProfileError: names the first setting that differs.
        """
        made = self.settings
        if made is None:
            raise ProfileError(
                f"profile {self.name!r} ({self.origin}) holds no times; make one with: advisor profile MODEL --out FILE"
            )
        asked: dict[str, Any] = {
            "device": device_type(device) if device is not None else None,
            "batch": batch,
            "threads": threads,
            "dtype": dtype,
            "training": training,
            "number": number,
            "channels_last": channels_last,
            "flush_l2": flush_l2,
        }
        for name, value in asked.items():
            if name == "batch" and made.batch == ANY_BATCH:
                continue
            if name == "dtype" and (self.model is not None or made.number) and value == "float32":
                continue  # a network of float32 weights stands for itself under autocast, or converted
            if value is not None and value != getattr(made, name):
                raise ProfileError(
                    f"profile {self.name!r} was made with {name}={getattr(made, name)}, asked for {name}={value}: "
                    f"its times do not hold; make one with these settings (advisor profile), or ask for {made.text}"
                )
        return self.warnings()

    def warnings(self) -> tuple[str, ...]:
        """How this machine differs from the one that the profile was made on; empty for one without times."""
        if self.machine is None or self.settings is None:
            return ()
        import torch

        if self.settings.device == "cuda" and not torch.cuda.is_available():
            return (f"the profile was made on {self.machine.name}; this machine has no CUDA device",)
        found = machine_differences(self.machine, this_machine(self.settings.device))
        return (*found, *kernel_differences(self.settings))

    def summary(self) -> dict[str, Any]:
        """What a list of profiles shows."""
        return {
            "name": self.name,
            "origin": self.origin,
            "device": self.machine.name if self.machine else "any",
            "settings": self.settings.text if self.settings else "energy only",
            "torch": self.machine.torch if self.machine else None,
            "created": self.created,
            "measurements": len(self.measurements) + sum(table.measured for table in self.tables),
            "networks": sorted(self.networks),
            "notes": list(self.notes),
            "error": dict(self.error) if self.error else None,
            "warnings": list(self.warnings()),
            "source": self.source,
        }

    def save(self, path: str | Path) -> None:
        """Writes the profile; a reader sees the old file or the whole new one."""
        from advisor.devices.document import to_document
        from advisor.files import write_json

        write_json(path, to_document(self), short=bool(self.tables))  # thousands of operators


def list_profiles() -> tuple[str, ...]:
    """Names of the profiles that came with the package, sorted."""
    held = files("profiles").iterdir()
    return tuple(sorted(item.name.removesuffix(".json") for item in held if item.name.endswith(".json")))


def load_profile(name: str | Path) -> Profile:
    """Loads a profile that came with the package by its name, or one of yours by its path.

    Raises:
        ProfileError: no such profile, or the file is not one: unreadable, truncated, or not as the schema says.
    """
    from advisor.devices.document import from_document
    from advisor.files import read_json

    text = str(name)
    path: Any = Path(text)
    if isinstance(name, str) and text in list_profiles() and not path.exists():
        path = Path(str(files("profiles") / f"{text}.json"))
    elif not path.exists():
        if text.endswith(".json") or "/" in text or "\\" in text:
            raise ProfileError(f"profile {text}: no such file; make one with: advisor profile MODEL --out {text}")
        raise ProfileError(unknown("profile", text, list_profiles()) + "; or give the path of a file")
    return from_document(read_json(path, error=ProfileError), str(name))


def check_profile(profile: object) -> None:
    """Raises ProfileError for what is neither a Profile nor None."""
    if profile is not None and not isinstance(profile, Profile):
        raise ProfileError(
            f"profile={str(profile)[:80]!r}: got a {type(profile).__name__}, expected a Profile; "
            "advisor.load_profile reads one by name or path"
        )
