"""Every option that a profile may ask for builds, runs and trains, whatever the layer is."""

import pytest
import torch
from torch import Tensor, nn

from advisor.devices.measuring.progress import Progress, left_text
from advisor.devices.measuring.subject import layer_call
from advisor.devices.measuring.work import in_order, options_of, tasks_of
from advisor.network import Network
from advisor.trace import analyze


class Mixed(nn.Module):
    """Strided, dilated, grouped, depthwise, transposed; attention without modules; a layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(16, 32, 3, dilation=2, padding=2, bias=False)
        self.norm = nn.BatchNorm2d(32)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.grouped = nn.Conv2d(32, 32, 1, groups=4)
        self.up = nn.ConvTranspose2d(32, 16, 2, stride=2, output_padding=1)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.twice = nn.Linear(16, 16)
        self.line = nn.Conv1d(16, 16, 3)
        self.last = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.grouped(self.depthwise(self.norm(self.wide(self.first(x)).relu())))
        x = self.up(x).flatten(2).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = self.twice(self.twice(x).relu())
        found: Tensor = self.last(self.line(x.transpose(1, 2)).mean(2))
        return found


@pytest.fixture(scope="module")
def mixed() -> Network:
    return analyze(Mixed(), (torch.zeros(1, 3, 16, 16),), name="mixed")


@pytest.mark.parametrize("kernels", ["no_kernels", "with_kernels"])
@pytest.mark.parametrize("training", [False, True])
def test_every_option_builds_and_runs(
    mixed: Network, training: bool, kernels: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(kernels)
    tasks = in_order(tasks_of(mixed, options_of(mixed, None, include_ends=True), training=training))
    methods = {task.execution.method for task in tasks}
    fast = "gather" if kernels == "no_kernels" else "direct"
    assert methods == ({"dense", fast, "packed"} if training else {"dense", fast})
    assert {task.execution.kind for task in tasks} == {"conv1d", "conv2d", "conv_transpose2d", "linear"}
    for task in tasks:
        module, inputs = task.execution.build()
        assert tuple(module(inputs).shape) == task.execution.output_shape, task.execution.key
    for task in tasks[:: len(tasks) // 25]:
        module, inputs = task.execution.build()
        layer_call(module, inputs, training=training)()


def test_default_candidates_are_all_patterns(mixed: Network) -> None:
    found = options_of(mixed, None)
    patterns = {option.pattern for options in found.values() for option in options}
    assert patterns == {"dense", "width", "channel", "group", "block", "n:m", "unstructured"}
    assert {option.pattern for option in options_of(mixed, ("group",))["wide"]} == {"dense", "group"}
    assert {option.pattern for option in options_of(mixed, ("width",))["wide"]} == {"dense", "width"}


def test_time_left_in_words() -> None:
    assert left_text(None) == ""
    assert left_text(59.6) == "1 min 0 s left, "
    assert left_text(12.2) == "12 s left, "


def test_progress_tells_what_is_left_without_counting_resumed_work_as_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    from advisor.devices.measuring import progress

    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    told: list[tuple[int, int, float | None, str]] = []
    with Progress(10, shown=False, hook=lambda *a: told.append(a)) as bar:
        bar.skip(4, None)
        now[0] += 2.0
        bar.step("a", None)
        now[0] += 2.0
        bar.step("b", deadline=now[0] + 3.0)
    assert told == [
        (4, 10, None, "from the interrupted run"),
        (5, 10, 10.0, "a"),
        (6, 10, 3.0, "b"),
    ]
