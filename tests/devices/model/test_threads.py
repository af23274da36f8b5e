from dataclasses import replace
from functools import lru_cache
from math import log
from unittest.mock import patch

import pytest

from advisor.devices.model.device import DeviceModel
from advisor.devices.model.steps_of import step_of
from advisor.devices.model.threads import ThreadsModel, around
from advisor.devices.profile import Profile
from advisor.devices.suite.records import tables_of
from advisor.errors import ProfileError
from tests.devices.formula import device_profile, recording, records
from tests.devices.steps.test_executions import sparse_conv, sparse_linear

PIECES = 8


@lru_cache(maxsize=1)
def shared() -> Profile:
    """One, two and eight threads, which share all work evenly."""
    with patch("advisor.devices.model.learner._ROUNDS", 5):
        tables = tables_of([line for n in (1, 2, 8) for line in records(PIECES, threads=n)])
        profile = replace(device_profile(), tables=tables, fitted={})
        for n in (1, 2, 8):
            profile.at(threads=n).latency(sparse_conv())  # fitted with these rounds
    return profile


def estimator(threads: int) -> ThreadsModel | DeviceModel:
    found = shared().at(threads=threads).estimator
    assert isinstance(found, ThreadsModel | DeviceModel)
    return found


def test_what_was_measured_is_taken_as_it_is() -> None:
    assert all(isinstance(estimator(n), DeviceModel) for n in (1, 2, 8))
    assert isinstance(estimator(4), ThreadsModel)
    assert shared().at(threads=2).estimator is shared().at(threads=2).estimator, "fitted once"


@pytest.mark.parametrize("threads", [3, 4, 7])
def test_between_two_numbers_work_is_serial_and_shared(threads: int) -> None:
    """s + p / n, both found from the two sides; for whole runs, steps and layers."""
    found = recording(3, "sparse")
    layers = (sparse_conv(), sparse_linear(), replace(sparse_conv(), method="dense", kept=0, block=0))
    asked = [lambda m: m.whole(found), *(lambda m, e=e: m.layer(e) for e in layers), lambda m: m.step(found.steps[0])]
    for ask in asked:
        two, here, eight = (ask(estimator(n)) for n in (2, threads, 8))
        shared_ms = (two.median_ms - eight.median_ms) / (1 / 2 - 1 / 8)
        assert here.median_ms == pytest.approx(two.median_ms + shared_ms * (1 / threads - 1 / 2))
        assert here.low_ms < here.median_ms < here.high_ms
        least = min(log(w.high_ms / w.low_ms) for w in (two, eight))
        assert log(here.high_ms / here.low_ms) > least, "less is known of it"
        assert here.origin == "predicted" or "extrapolated" in (two.origin, eight.origin)


def test_a_whole_between_is_its_parts_and_says_so() -> None:
    found = recording(3)
    whole = estimator(4).whole(found)
    assert sum(whole.parts.values()) == pytest.approx(whole.median_ms)
    assert len(whole.steps_ms) == len(found.steps)
    assert whole.notes[0] == "4 threads were not measured: their times lie between those of 2 and 8"


def test_a_profile_s_latency_and_pace_between() -> None:
    profile = shared().at(threads=4)
    layer = step_of(sparse_conv()).execution
    assert layer is not None
    one, here, two = (shared().at(threads=n).latency(layer).median_ms for n in (2, 4, 8))
    assert two < here < one
    assert profile.latency(layer).origin in ("predicted", "extrapolated")
    assert profile.settings is not None
    assert profile.settings.threads == 4
    pace = profile.pace
    assert pace is not None
    assert pace.slower(pace.reference_ms) == 1.0


def test_beyond_the_measured_numbers_it_refuses() -> None:
    with pytest.raises(ProfileError, match=r"1 thread, inference; 2 threads, inference; 8 threads, .*; asked for 9"):
        shared().at(threads=9)
    with pytest.raises(ProfileError, match="asked for 4 threads, training"):
        shared().at(threads=4, training=True)
    assert around(shared().tables, 9, False) is None
    assert around(shared().tables, 4, True) is None
