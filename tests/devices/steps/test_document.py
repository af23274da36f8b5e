import json

import pytest
import torch

from advisor.devices.model.steps_of import step_of
from advisor.devices.steps.document import step_document, step_from
from advisor.devices.steps.record import record_steps
from tests.devices.steps.networks import networks
from tests.devices.steps.test_executions import sparse_conv, sparse_linear


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", sorted(networks()))
def test_steps_come_back_as_they_were(name: str, training: bool) -> None:
    module, inputs = networks()[name]
    module.train(training)
    for step in record_steps(module, inputs, training=training, optimizer=training).steps:
        assert step_from(json.loads(json.dumps(step_document(step)))) == step


def test_sparse_ones_too() -> None:
    for execution in (sparse_conv(), sparse_linear()):
        step = step_of(execution)
        assert step_from(json.loads(json.dumps(step_document(step)))) == step


GOOD = step_document(step_of(sparse_conv()))


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, 3), (1, None), (2, 5), (2, [["a"]]), (2, [[-1]]), (3, "cc"), (4, {}), (5, "12"), (6, -4), (6, "4"), (7, 1e400),
     (8, -1), (8, 1.5), (9, 1), (10, {"kind": "conv2d"}), (10, []), (10, 5)],
)  # fmt: skip
def test_what_is_no_step_is_refused(place: int, value: object) -> None:
    bad = [value if index == place else item for index, item in enumerate(GOOD)]
    with pytest.raises((ValueError, TypeError)) as caught:
        step_from(bad)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [[], GOOD[:-1], [*GOOD, 0], None, "conv2d", {}])
def test_neither_is_what_is_no_list_of_eleven(bad: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        step_from(bad)  # type: ignore[arg-type]


def test_shapes_of_no_size_are_fine() -> None:
    step = step_from(json.loads(json.dumps(GOOD)))
    assert torch.Size(step.outputs[0]) == torch.Size((1, 16, 6, 6))
