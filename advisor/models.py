"""From a model's name to a module and its example input."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from advisor.errors import ModelError, unknown
from advisor.factories import load_factory, users_mistakes
from advisor.network import Shape
from advisor.trace import float_dtype

FORMS = "torchvision:NAME, timm:NAME, zoo:NAME, path/to/file.py:FACTORY or package.module:FACTORY"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A module, the example inputs it runs on, and its name as the user wrote it."""

    module: torch.nn.Module
    example_inputs: tuple[Any, ...]
    name: str


def parse_input(text: str) -> tuple[Shape, ...]:
    """`"1x3x224x224"` → ((1, 3, 224, 224),); several inputs are separated by commas.

    Raises:
        ModelError: not of that form, or a size below 1.
    """
    shapes = []
    for part in text.split(","):
        sizes = part.strip().lower().split("x")
        if not all(size.strip().isdecimal() and int(size) > 0 for size in sizes):
            raise ModelError(f"input {text!r} is no shape; write positive sizes joined by x, such as 1x3x224x224")
        shapes.append(tuple(int(size) for size in sizes))
    return tuple(shapes)


def input_text(shapes: Iterable[Shape]) -> str:
    """Shapes as `parse_input` reads them: "1x3x224x224"."""
    return ",".join("x".join(map(str, shape)) for shape in shapes)


def load_model(
    spec: str,
    *,
    device: str = "meta",
    input_text: str | None = None,
    num_classes: int | None = None,
    seed: int | None = None,
) -> LoadedModel:
    """Builds a network by name, with random weights.

    Args:
        spec: one of the forms of the command line.
        device: "meta" builds without memory for weights and falls back to real ones where that is impossible;
            "cpu" builds real ones.
        input_text: the example input's shape, `"1x3x224x224"`; the network's own by default.
        num_classes: classes of the classifier, for networks of torchvision, timm and the zoo.
        seed: of the random weights; torch's own stream, as it stands, by default.

    Raises:
        ModelError: unknown name, a file that raises, or a factory that returns no module.
    """
    source, separator, name = spec.partition(":")
    if not separator or not name or not source:
        raise ModelError(f"model {spec!r} has no source; write {FORMS}")
    builders: dict[str, Callable[[str, int | None], tuple[Callable[[], Any], Any]]] = {
        "torchvision": _torchvision,
        "timm": _timm,
        "zoo": _zoo,
    }
    if source in builders:
        build, default = builders[source](name, num_classes)
    else:
        build, default = load_factory(spec, FORMS), None
    with _seeded(seed):
        module, own_inputs = _built(spec, build, device)
    shapes = parse_input(input_text) if input_text is not None else None
    target = "meta" if any(p.is_meta for p in module.parameters()) else "cpu"
    dtype = float_dtype(module)
    if shapes is None and own_inputs is not None:
        inputs = own_inputs
    elif source == "torchvision" and isinstance(default, list):
        # Detection networks take a list of images without a batch axis.
        images = shapes if shapes is not None else default
        inputs = ([_zeros(shape[-3:], target, dtype) for shape in images],)
    else:
        chosen: Any = shapes if shapes is not None else (default or (1, 3, 224, 224))
        if isinstance(chosen[0], int):
            chosen = (chosen,)
        inputs = tuple(_zeros(shape, target, dtype) for shape in chosen)
    return LoadedModel(module=module, example_inputs=inputs, name=spec)


def _zeros(shape: Shape, device: str, dtype: torch.dtype) -> torch.Tensor:
    try:
        return torch.zeros(shape, device=device, dtype=dtype)
    except (RuntimeError, OverflowError, TypeError) as error:  # more bytes than memory has, or than 64 bits count
        raise ModelError(
            f"input {'x'.join(map(str, shape))} is too large for a tensor; give a smaller shape, such as 1x3x224x224"
        ) from error


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Draws from `seed` inside and leaves torch's stream as it was."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _built(spec: str, build: Callable[[], Any], device: str) -> tuple[torch.nn.Module, tuple[Any, ...] | None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if device == "meta":
            try:
                with torch.device("meta"):
                    result = build()
            except ModelError:
                raise
            except (Exception, SystemExit):
                # Some constructors compute with real numbers; then real weights it is.
                result = _guarded(spec, build)
        else:
            result = _guarded(spec, build)
    inputs: tuple[Any, ...] | None = None
    if isinstance(result, tuple) and len(result) == 2:
        result, example = result
        if isinstance(example, tuple) and example and all(isinstance(size, int) for size in example):
            example = _zeros(example, "cpu", torch.float32)
        inputs = example if isinstance(example, tuple) else (example,)
    if not isinstance(result, torch.nn.Module):
        raise ModelError(
            f"model {spec!r}: the factory returned {type(result).__name__}; "
            "expected a torch.nn.Module, or (module, example inputs)"
        )
    return result, inputs


def _guarded(spec: str, build: Callable[[], Any]) -> Any:
    with users_mistakes(spec):
        return build()


def torchvision_names() -> list[str]:
    """Every network of torchvision but the quantised ones, detection, segmentation and video included."""
    from torchvision import models

    return [name for name in models.list_models() if not name.startswith("quantized_")]


def _torchvision(name: str, classes: int | None) -> tuple[Callable[[], Any], Any]:
    from torchvision import models

    if name not in torchvision_names():
        raise ModelError(unknown("torchvision network", name, torchvision_names()))
    builder = models.get_model_builder(name)
    accepted = inspect.signature(builder).parameters
    options: dict[str, Any] = {"weights": None}
    if "weights_backbone" in accepted:
        options["weights_backbone"] = None
    if classes is not None:
        options["num_classes"] = classes
    if name in ("inception_v3", "googlenet"):
        options["init_weights"] = False  # its truncated normal takes half a minute and nobody keeps it
    kind = builder.__module__.removeprefix("torchvision.models.").partition(".")[0]
    default: Any = (1, 3, 224, 224)
    if kind == "detection":
        size = {"ssd300_vgg16": 300, "ssdlite320_mobilenet_v3_large": 320}.get(name, 800)
        default = [(3, size, size)]
    elif kind == "segmentation":
        default = (1, 3, 520, 520)
    elif kind == "video":
        default = (1, 3, 16, 224, 224) if name.startswith(("mvit", "swin3d", "s3d")) else (1, 3, 16, 112, 112)
    elif kind == "optical_flow":
        default = ((1, 3, 128, 128), (1, 3, 128, 128))
    else:
        weights = models.get_model_weights(name)
        crop = next(iter(weights)).transforms.keywords.get("crop_size") if len(weights) else None
        if crop and name.startswith(("inception", "vit_h", "vit_l_16")) and name == "inception_v3":
            default = (1, 3, int(crop), int(crop))
    return lambda: builder(**options), default


def _timm(name: str, classes: int | None) -> tuple[Callable[[], Any], Any]:
    try:
        import timm
    except ImportError:
        raise ModelError(
            f"model 'timm:{name}': timm is not installed; run pip install 'sparsity-advisor[timm]'"
        ) from None
    if not timm.is_model(name):
        raise ModelError(unknown("timm network", name, timm.list_models()))
    settings = timm.get_pretrained_cfg(name, allow_unregistered=True)
    size = tuple(settings.input_size) if settings is not None and settings.input_size else (3, 224, 224)
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    return lambda: timm.create_model(name, pretrained=False, **options), (1, *size)


def _zoo(name: str, classes: int | None) -> tuple[Callable[[], Any], Any]:
    from advisor.zoo import ZOO

    if name not in ZOO:
        raise ModelError(unknown("zoo network", name, ZOO))
    entry = ZOO[name]
    return lambda: entry.build(classes or entry.classes), entry.input_shape


def load_weights(module: torch.nn.Module, path: str | Path) -> None:
    """Loads a state dict (`.safetensors`, or anything `torch.load(weights_only=True)` reads) into `module`.

    Raises:
        ModelError: missing, not a state dict, unsafe content, or keys and shapes of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"weights: no file {str(path)!r} here; check the path")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"weights {str(path)!r} cannot be read safely: {reason}; save a plain state dict") from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(item, torch.Tensor) for item in state.values()):
        raise ModelError(f"weights {str(path)!r} hold no state dict of tensors; save model.state_dict()")
    state = {key.removeprefix("module."): item for key, item in state.items()}
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        first = " ".join(str(error).split("\n\t")[-1].split())[:200]
        raise ModelError(f"weights {str(path)!r} belong to another network: {first}") from error
