"""`onnx`: the network under the plan, for anything that runs ONNX."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import Any

import torch
from torch import nn

from advisor.errors import PlanError
from advisor.files import parse_json
from advisor.plans.again import dense_again
from advisor.plans.apply import apply_plan
from advisor.plans.export.exporter import Exported, Exporter, Source, register
from advisor.plans.export.provenance import checked, line_of, provenance
from advisor.plans.export.tensors import KEY
from advisor.plans.match import sample_inputs

_LARGEST = 2**31 - 1  # a protobuf message


@register
class Onnx(Exporter):
    """The network in evaluation mode with the plan applied: narrower where width is, zeros where masks are.

    Weights are plain tensors, since ONNX has no lists of connections; a runtime that skips zeros finds them, and one
    that does not runs the dense layers. Batch norms stay, which runtimes fold by themselves.
    """

    name = "onnx"
    suffix = ".onnx"
    line = "the network with the plan applied (needs the extra onnx)"
    needs_module = True

    def export(self, source: Source) -> Exported:
        if source.module is None:
            raise PlanError(f"{source.label}: --to onnx needs the network itself; name it (--model)")
        _check_installed()
        about = provenance(source.plan, self.name)
        applied = apply_plan(source.plan, source.module, example_inputs=source.example_inputs).module
        plain = dense_again(applied).eval()
        if any(tensor.is_meta for tensor in (*plain.parameters(), *plain.buffers())):
            raise PlanError(f"{source.label}: the network has no weights (they are on the meta device); load real ones")
        inputs = sample_inputs(source.plan, plain, None, source.example_inputs)
        model = _exported(plain, inputs, source.label)
        entry = model.metadata_props.add()
        entry.key, entry.value = KEY, line_of(about)
        if model.ByteSize() > _LARGEST:
            raise PlanError(f"{source.label}: the network takes {model.ByteSize():,} bytes, an ONNX file holds 2 GB")
        return Exported(
            data=model.SerializeToString(),
            numbers={
                "layers": len(about["layers"]),
                "params": sum(p.numel() for p in plain.parameters()),
                "kept_weights": sum(layer["kept_weights"] for layer in about["layers"]),
            },
        )

    def provenance(self, data: bytes) -> dict[str, Any]:
        _check_installed()
        import onnx
        from google.protobuf.message import DecodeError

        try:
            model = onnx.load_from_string(data)
        except DecodeError as error:
            raise PlanError(f"no ONNX file: {error}") from error
        text = next((entry.value for entry in model.metadata_props if entry.key == KEY), "null")
        return checked(parse_json(text.encode(), f"metadata {KEY!r}", error=PlanError), self.name)


def _check_installed() -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise PlanError(f"--to onnx needs {error.name}; pip install 'sparsity-advisor[onnx]'") from error
    del onnx


def _exported(module: nn.Module, inputs: tuple[Any, ...], label: str) -> Any:
    """The ONNX model. Torch's exporter talks much, and may fail in many ways."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    try:
        log.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(module, inputs, dynamo=True, optimize=False, verbose=False)
        assert program is not None
        return program.model_proto
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise PlanError(f"{label}: torch cannot export the network to ONNX ({reason})") from error
    finally:
        log.setLevel(level)
