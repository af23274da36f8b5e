import pytest
import torch
from torch import nn

from advisor.devices.measuring.work import Task, in_order, network_hash, reference_of, tasks_of
from advisor.network import Network
from advisor.patterns.option import DENSE, Option
from advisor.runtime.execution import Execution
from advisor.trace import analyze
from tests.devices.conftest import network_of
from tests.devices.synthetic import all_executions, widths

MASKED = tuple(Option(pattern="channel", density=d) for d in (0.75, 0.5, 0.25))


def test_one_task_for_layers_of_one_shape(resnet18: Network) -> None:
    tasks = tasks_of(resnet18, {}, training=False)
    assert len(tasks) == len(all_executions(resnet18, {})) < len(resnet18.sparsifiable)
    assert sum(task.dense_macs for task in tasks) == sum(layer.macs for layer in resnet18.sparsifiable)
    assert all(task.dense for task in tasks)


def test_masked_patterns_add_no_work_at_inference_and_no_weight_in_the_order(resnet18: Network) -> None:
    masked = {layer.name: (DENSE, *MASKED) for layer in resnet18.sparsifiable}
    assert tasks_of(resnet18, masked, training=False) == tasks_of(resnet18, {}, training=False)


@pytest.mark.usefixtures("with_kernels")
def test_with_kernels_a_masked_pattern_is_timed_by_them_beside_the_dense_layer(resnet18: Network) -> None:
    masked = {layer.name: (DENSE, *MASKED) for layer in resnet18.sparsifiable if layer.name != "conv1"}
    tasks = tasks_of(resnet18, masked, training=False)
    dense = [task for task in tasks if task.dense]
    direct = [task for task in tasks if not task.dense]
    assert {task.execution.key for task in dense} == set(all_executions(resnet18, {}))
    assert {task.execution.method for task in direct} == {"direct"}
    assert len(direct) == len(MASKED) * (len(dense) - 1), "one for each shape and density, conv1 left out"
    ordered = in_order(tasks)
    assert all(task.dense for task in ordered[: len(dense)])
    assert ordered[len(dense)].density == 0.5, "the middle of the costliest family"


@pytest.mark.usefixtures("with_kernels")
def test_in_training_what_could_be_faster_is_timed_before_the_masked_layer(resnet18: Network) -> None:
    layer = resnet18.layer("layer1.0.conv1")
    order = in_order(tasks_of(resnet18, {layer.name: MASKED}, training=True))
    methods = [task.execution.method for task in order if not task.dense]
    assert sorted(methods) == ["direct"] * 3 + ["packed"] * 3
    assert methods[:2] == ["direct", "direct"]
    assert {task.flat for task in order if task.execution.method == "packed"} == {True}


def test_narrowed_layers_that_look_like_dense_ones_are_dense(resnet18: Network) -> None:
    """Half of a 512-512 layer of stage 4 differs from 256-256 of stage 3 in its image, half of nothing is dense."""
    tasks = tasks_of(resnet18, widths(resnet18), training=False)
    keys = [task.execution.key for task in tasks]
    assert len(keys) == len(set(keys))
    assert {task.execution.key for task in tasks if task.dense} == set(all_executions(resnet18, {}))


def linear(inputs: int, kept: int, *, dense: bool = False, macs: int = 0) -> Task:
    method = "dense" if dense else "packed"
    execution = Execution(
        kind="linear", method=method, input_shape=(1, inputs), weight_shape=(inputs, inputs), kept=0 if dense else kept
    )
    return Task(
        execution=execution,
        dense=dense,
        dense_macs=macs or execution.macs,
        family=(inputs,),
        density=kept / inputs**2,
    )


def test_dense_first_then_the_middle_of_the_costliest_family() -> None:
    big = [linear(64, kept) for kept in (256, 512, 1024, 2048, 3072)]
    small = [linear(8, kept) for kept in (8, 16, 32)]
    ends = [linear(8, 8, dense=True), linear(64, 64, dense=True)]
    order = in_order([*small, *big, *ends])
    assert [t.dense for t in order[:2]] == [True, True]
    assert order[0].execution.weight_shape == (64, 64)  # the costlier one
    kept = [task.execution.kept for task in order[2:]]
    assert kept[0] == 1024  # the middle of the big family
    assert set(kept[1:3]) == {256, 3072}  # then its ends
    assert kept.index(16) > kept.index(3072)
    assert in_order(list(reversed([*small, *big, *ends]))) == order  # whatever the order it came in


def test_the_reference_is_the_same_in_every_run(resnet18: Network) -> None:
    tasks = tasks_of(resnet18, {}, training=False)
    assert reference_of(tasks, "cpu") == reference_of(list(reversed(tasks)), "cpu")
    assert reference_of(tasks, "cpu").dense


def test_the_hash_names_layers_not_weights_or_names(digits: Network) -> None:
    again = network_of("zoo:digits_cnn")  # other weights: none at all
    assert network_hash(again) == network_hash(digits)
    assert network_hash(network_of("zoo:digits_cnn", input_text="1x1x28x28")) != network_hash(digits)
    assert network_hash(network_of("zoo:digits_cnn", input_text="2x1x40x40")) != network_hash(digits)


def test_the_hash_tells_strides_apart() -> None:
    def net(stride: int, padding: int) -> Network:
        module = nn.Sequential(nn.Conv2d(4, 4, 3, stride=stride, padding=padding))
        return analyze(module, (torch.zeros(1, 4, 8, 8),), name="n")

    assert network_hash(net(1, 1)) == network_hash(net(1, 1))
    assert len({network_hash(net(s, p)) for s, p in ((1, 1), (2, 1), (1, 0))}) == 3


@pytest.mark.parametrize("training", [False, True])
def test_every_task_builds_and_runs(digits: Network, training: bool) -> None:
    for task in tasks_of(digits, widths(digits, (1.0, 0.5)), training=training):
        module, inputs = task.execution.build()
        assert tuple(module(inputs).shape) == task.execution.output_shape
