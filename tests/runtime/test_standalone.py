"""A module built for an execution does exactly what the execution says."""

from dataclasses import replace
from math import prod

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import nn

from advisor.patterns.option import DENSE, Option
from advisor.runtime.execution import Execution
from advisor.runtime.methods import Method
from advisor.runtime.packed import packed_of
from advisor.runtime.sparse import Sparse
from tests.runtime.samples import any_execution, layer_of, only


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(execution=any_execution())
def test_the_built_module_is_what_the_execution_says(execution: Execution) -> None:
    module, x = execution.build()
    assert tuple(x.shape) == execution.input_shape
    y = module(x)
    assert tuple(y.shape) == execution.output_shape
    if execution.method == "gather":
        assert isinstance(module, Sparse)
        assert (module.kept, module.block) == (execution.kept, execution.block)
        weight = module.weight
    elif execution.method == "direct":
        assert isinstance(module, Sparse)
        assert (module.method, module.block) == ("direct", execution.block)
        assert int(module.indptr[-1]) == len(module.inputs) == execution.kept
        weight = module.weight
    elif execution.method == "packed":
        weight = dict(packed_of(module))["weight"] and module.parametrizations.weight.original
    else:
        weight = module.weight
    assert weight.numel() == execution.stored_values
    layer = layer_of(module, *execution.input_shape) if execution.method == "dense" else None
    if layer is not None:
        assert layer.macs == execution.macs
        rows = (prod(execution.input_shape[:-1]), execution.input_shape[-1])  # a linear layer's work, whatever its axes
        wanted = replace(execution, input_shape=rows) if execution.kind == "linear" else execution
        assert only(layer, DENSE).key == wanted.key
    y.sum().backward()
    assert weight.grad is not None
    assert torch.isfinite(y).all()


@pytest.mark.parametrize(
    ("option", "method"),
    [
        (DENSE, "dense"),
        (Option(pattern="channel", density=0.25), "direct"),
        (Option(pattern="group", density=0.25, parameters={"block": 4}), "gather"),
        (Option(pattern="n:m", density=0.5, parameters={"n": 2, "m": 4}), "packed"),
    ],
    ids=lambda value: getattr(value, "pattern", ""),
)
def test_twice_the_same_numbers(option: Option, method: Method) -> None:
    execution = only(layer_of(nn.Conv2d(8, 16, 3), 2, 8, 9, 9), option, method=method)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    (one, x), (two, z) = execution.build(), execution.build()
    assert torch.equal(torch.get_rng_state(), before), "torch's own stream is left alone"
    assert torch.equal(one(x), two(z))
