"""When a run that loses its workers is given up."""

import pytest
import torch

from validation.engines import Task
from validation.engines.attempts import Attempts, is_out_of_memory
from validation.training.recipe import EpochResult

TASK = Task(label="plan", seed=1)


def test_deaths_in_one_epoch_are_limited() -> None:
    attempts = Attempts(2)
    assert [attempts.died(TASK, 3) for _ in range(3)] == [True, True, False]


def test_a_run_that_gets_further_may_die_without_end() -> None:
    attempts = Attempts(1)
    assert all(attempts.died(TASK, epoch) for epoch in range(20))
    assert not attempts.died(TASK, 19), "the second time in one epoch"


def test_runs_are_counted_apart() -> None:
    attempts = Attempts(0)
    assert not attempts.died(TASK, 0)
    assert Attempts(1).died(Task(label="plan", seed=2), 0)


def test_no_second_chance_where_none_is_wanted() -> None:
    assert not Attempts(0).died(TASK, 0)


def test_a_lost_run_says_what_happened_and_keeps_its_curve() -> None:
    attempts = Attempts(1)
    attempts.died(TASK, 1)
    attempts.died(TASK, 1)
    epoch = EpochResult(loss=2.0, accuracy=0.5, seconds=3.0)
    lost = attempts.lost(TASK, {"params": 7, "macs": 9}, [epoch], "killed by SIGKILL")
    assert (lost["plan"], lost["seed"], lost["accuracy"], lost["loss"], lost["lost"]) == ("plan", 1, None, None, True)
    assert (lost["seconds"], lost["params"], lost["macs"], lost["epochs"]) == (3.0, 7, 9, [epoch.to_json()])
    assert lost["problem"].startswith("its worker died 2 times in epoch 2, the last time: killed by SIGKILL; run")


def test_what_running_out_of_memory_looks_like() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**55)
    assert is_out_of_memory(raised.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))
