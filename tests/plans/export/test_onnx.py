"""ONNX files, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from advisor.errors import PlanError
from advisor.plans.export import export_plan
from advisor.plans.plan import load_plan
from tests.plans.export.samples import inputs, masked, narrowed, plain
from tests.plans.samples import masked_copy

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def held(path: Path) -> dict[str, np.ndarray]:
    return {item.name: onnx.numpy_helper.to_array(item) for item in onnx.load(path).graph.initializer}


def ran(path: Path) -> np.ndarray:
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs().numpy()})[0]


def test_runtime_computes_what_the_plan_computes_with_the_same_masks(tmp_path: Path) -> None:
    plan, model = masked(selection="magnitude"), plain()
    plan.save(tmp_path / "plan.json")
    receipt = export_plan(load_plan(tmp_path / "plan.json"), "onnx", tmp_path / "net.onnx", module=model)
    onnx.checker.check_model(onnx.load(tmp_path / "net.onnx"))
    wanted = masked_copy(plan, model)
    np.testing.assert_allclose(ran(tmp_path / "net.onnx"), wanted(inputs()).detach(), rtol=1e-4, atol=1e-5)
    weights = held(tmp_path / "net.onnx")
    for layer in plan.layers:
        mask = plan.masks()[layer.name].numpy()
        assert np.array_equal(weights[layer.weight] != 0, mask)
    params = dict(model.named_parameters())
    assert sum(weights[name].size for name in params) == sum(p.numel() for p in params.values())
    assert receipt.numbers["params"] == sum(p.numel() for p in params.values())


def test_a_narrowed_network_is_narrower_in_the_file(tmp_path: Path) -> None:
    plan, model = narrowed(), plain()
    receipt = export_plan(plan, "onnx", tmp_path / "net.onnx", module=model)
    narrow = plan.apply(model).eval()
    np.testing.assert_allclose(ran(tmp_path / "net.onnx"), narrow(inputs()).detach(), rtol=1e-4, atol=1e-5)
    weights, params = held(tmp_path / "net.onnx"), dict(narrow.named_parameters())
    assert {name: weights[name].shape for name in params} == {name: tuple(p.shape) for name, p in params.items()}
    assert receipt.numbers["params"] == plan.costs["params"].plan == sum(p.numel() for p in params.values())


def test_a_network_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no weights"):
        export_plan(masked(), "onnx", tmp_path / "net.onnx", module=plain().to("meta"))


def test_what_torch_cannot_export_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no such\noperator")

    monkeypatch.setattr(torch.onnx, "export", fails)
    with pytest.raises(PlanError, match=r"torch cannot export .* \(RuntimeError: no such operator\)"):
        export_plan(masked(), "onnx", tmp_path / "net.onnx", module=plain())
    assert not list(tmp_path.iterdir())


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(PlanError, match=r"pip install 'sparsity-advisor\[onnx\]'"):
        export_plan(masked(), "onnx", tmp_path / "net.onnx", module=plain())
