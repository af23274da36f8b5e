"""Attention layers that a plan replaces by hierarchical ones: what a plan holds of them, as a document, and applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advisor.errors import PatternError, PlanError
from advisor.patterns import hierarchical
from advisor.patterns.hierarchical import HIERARCHICAL, AttentionShape
from advisor.patterns.option import Option

if TYPE_CHECKING:
    from torch import nn

    from advisor.runtime.attention.sites import Site

KIND = "attention"  # of such a layer in a plan file
ENDINGS = ("attention", "matmul")  # of the layer's name behind its module's: one operator, or its two products


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanAttention:
    """One attention layer that becomes hierarchical. Its projections are layers of the plan on their own.

    Attributes:
        name: the layer's, "blocks.0.attn:attention"; `module` is the attention module's.
        density: share of the pairs of tokens that are computed, which `window` and `pool` give.
        seed: of the new projections' initial values.
        shape: of the tokens, for one image.
    """

    name: str
    density: float
    seed: int
    window: int
    pool: int
    shape: AttentionShape

    @classmethod
    def of(cls, site: Site, option: Option, *, seed: int) -> PlanAttention:
        """The choice of `option` for an attention layer."""
        from dataclasses import replace

        return cls(
            name=site.layer,
            density=option.density,
            seed=seed,
            window=option.parameters["window"],
            pool=option.parameters["pool"],
            shape=replace(site.shape, images=1),
        )

    @property
    def module(self) -> str:
        return self.name.rpartition(":")[0]

    @property
    def pattern(self) -> str:
        return HIERARCHICAL

    @property
    def option(self) -> Option:
        return Option(pattern=HIERARCHICAL, density=self.density, parameters={"window": self.window, "pool": self.pool})

    @property
    def added_params(self) -> int:
        return hierarchical.added_params(self.shape, self.option)


def problem(layer: PlanAttention) -> str:
    """Why this layer cannot be what the plan says; "" where it can."""
    if layer.name.rpartition(":")[2] not in ENDINGS or ":" not in layer.name:
        return "is no attention layer; expected a name that ends with :attention or :matmul"
    if layer.shape.channels % layer.shape.heads:
        return f"{layer.shape.heads} heads do not divide {layer.shape.channels} channels"
    try:
        known = hierarchical.hierarchical(layer.shape, layer.window, layer.pool)
    except PatternError as error:
        return str(error)
    if abs(known.density - layer.density) > 1e-6:
        return f"density {layer.density:.6g} is not that of {known.label}"
    return ""


def to_item(layer: PlanAttention) -> dict[str, Any]:
    """One item of a plan file's layers."""
    shape = layer.shape
    return {
        "name": layer.name,
        "kind": KIND,
        "pattern": HIERARCHICAL,
        "density": float(layer.density),
        "seed": int(layer.seed),
        "window": layer.window,
        "pool": layer.pool,
        "channels": shape.channels,
        "heads": shape.heads,
        "grid": [shape.height, shape.width],
        "prefix": shape.prefix,
    }


def from_item(item: Mapping[str, Any]) -> PlanAttention:
    """The reverse of `to_item`, of an item that fits the schema."""
    height, width = (int(size) for size in item["grid"])
    return PlanAttention(
        name=item["name"],
        density=float(item["density"]),
        seed=int(item["seed"]),
        window=int(item["window"]),
        pool=int(item["pool"]),
        shape=AttentionShape(
            channels=int(item["channels"]),
            heads=int(item["heads"]),
            height=height,
            width=width,
            prefix=int(item["prefix"]),
        ),
    )


def put_in(layers: tuple[PlanAttention, ...], module: nn.Module, model: str) -> None:
    """Makes the attention modules of these layers hierarchical, in place; those that are so already stay as they are.

    Raises:
        PlanError: a module that is not there, or that the plan was not made for.
    """
    from advisor.runtime.attention.replace import is_hierarchical, make_hierarchical

    for layer in layers:
        found = dict(module.named_modules(remove_duplicate=False)).get(layer.module)
        if found is None:
            raise PlanError(
                f"plan for {model!r}: layer {layer.name} needs a module {layer.module!r}, the module has none of that "
                "name; the plan belongs to another network"
            )
        if is_hierarchical(found):
            continue
        try:
            make_hierarchical(found, layer.shape, window=layer.window, pool=layer.pool, seed=layer.seed)
        except PatternError as error:
            raise PlanError(f"plan for {model!r}: layer {layer.name}: {error}") from None


def are_in(layers: tuple[PlanAttention, ...], module: nn.Module) -> bool:
    """Whether at least one of these layers is hierarchical in `module`."""
    from advisor.runtime.attention.replace import is_hierarchical

    names = {layer.module for layer in layers}
    return any(name in names and is_hierarchical(child) for name, child in module.named_modules())


def added_names(layers: tuple[PlanAttention, ...]) -> tuple[str, ...]:
    """Prefixes of the names of what applying adds, "blocks.0.attn.hierarchy."."""
    from advisor.runtime.attention.replace import ADDED

    return tuple(f"{layer.module}.{ADDED}." for layer in layers)
