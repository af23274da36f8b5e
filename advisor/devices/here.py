"""What this machine is, and how each pattern runs on it today."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from advisor.network import Call, Layer
from advisor.patterns.option import DENSE
from advisor.runtime.execution import method_of

_WORDS = {
    "dense": "dense kernel on the weight with its zeros: no faster than dense",
    "gather": "inputs picked by index, then a smaller dense product",
    "packed": "kept values scattered into the dense weight, then the dense kernel: no faster than dense",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternRun:
    """How a pattern runs, in words. `faster`: whether inference multiplies less than the dense layer."""

    pattern: str
    inference: str
    training: str
    faster: bool


def pattern_runs() -> tuple[PatternRun, ...]:
    """How every pattern runs, asked of the same place that timings and `Plan.apply` ask, for a plain convolution."""
    from advisor.patterns.base import pattern, pattern_names

    shape = (1, 64, 16, 16)
    layer = Layer(
        name="sample",
        kind="conv2d",
        params=64 * 64 * 9,
        macs=64 * 64 * 9 * 256,
        activation_elements=64 * 256,
        input_shape=shape,
        output_shape=shape,
        calls=(Call(input_shape=shape, output_shape=shape, macs=64 * 64 * 9 * 256),),
        weight="sample.weight",
        weight_shape=(64, 64, 3, 3),
        stride=(1, 1),
        padding=(1, 1),
        dilation=(1, 1),
    )
    found = [PatternRun(pattern="dense", inference="dense kernel", training="dense kernel", faster=False)]
    for name in pattern_names():
        if name == "dense":
            continue
        if name == "width":
            words = "narrower tensors, dense kernel"
            found.append(PatternRun(pattern=name, inference=words, training=words, faster=True))
            continue
        option = next(iter(pattern(name).options(layer)), DENSE)
        inference, training = method_of(layer, option), method_of(layer, option, training=True)
        found.append(
            PatternRun(
                pattern=name, inference=_WORDS[inference], training=_WORDS[training], faster=inference == "gather"
            )
        )
    return tuple(found)


def profiles_in(folder: Path) -> tuple[Path, ...]:
    """Files of a folder that say at their beginning that they are profiles, sorted; nothing else is read of them."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            with path.open("rb") as stream:
                if b"sparsity-advisor/profile" in stream.read(300):
                    found.append(path)
        except OSError:
            continue
    return tuple(found)
