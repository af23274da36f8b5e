"""Why each layer got its option: what it saves, and what the next steps down and up would change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from advisor.errors import PlanError
from advisor.patterns.hierarchical import HIERARCHICAL
from advisor.planning.explaining.explain_text import paragraph, prices_text
from advisor.planning.explaining.explanation import Basis, Explanation, Reason, Step
from advisor.planning.table import Choice

_SAME = 1e-12  # relative: amounts that differ by rounding alone are equal


def explain(basis: Basis) -> Explanation:
    """The reasons of one plan; milliseconds for a hundred layers, quadratic in the number of a layer's options.

    A layer's steps are the options next to the chosen one on the front of its cost, weighted by the budgets' shadow
    prices, and its loss, among those that leave the width of its neighbours alone. A width group's steps are the next
    factors that all its layers have an option for, each then with the one of least loss and price.

    Raises:
        PlanError: the choice is none of this table.
    """
    table = basis.table
    if len(basis.choice) != len(table.layers):
        raise PlanError(f"a choice of {len(basis.choice)} options for a table of {len(table.layers)} layers")
    totals = {key: table.total(key, basis.choice) for key in basis.limits}
    left = {key: limit - totals[key] for key, limit in basis.limits.items()}
    prices = {key: basis.prices.get(key, 0.0) for key in basis.limits}
    scale = prices if any(prices.values()) else {key: 1 / max(abs(basis.limits[key]), 1e-300) for key in basis.limits}
    reasons = [_layer_reason(basis, index, scale, prices, left) for index in range(len(table.layers))]
    reasons += _group_reasons(basis, prices, left)
    texts = [prices_text(prices, left, basis.limits), *(reason.text for reason in reasons)]
    return Explanation(prices=prices, left=left, reasons=tuple(reasons), text="\n".join(texts))


def _layer_reason(
    basis: Basis, index: int, scale: Mapping[str, float], prices: Mapping[str, float], left: Mapping[str, float]
) -> Reason:
    table, chosen = basis.table, int(basis.choice[index])
    name, options = table.layers[index], table.options[index]
    columns = {key: basis.column(key, index) for key in basis.limits}
    loss = table.loss[index]
    rivals = basis.alike(index, table.requires[index][chosen])
    weights = {k: sum(scale[key] * float(columns[key][k]) for key in columns) for k in {*rivals, chosen}}

    def step(k: int | None) -> Step | None:
        if k is None:
            return None
        more = {key: float(column[k] - column[chosen]) for key, column in columns.items()}
        return _step(options[k].label, more, float(loss[k] - loss[chosen]), prices, left)

    down, up = _neighbours(chosen, rivals, weights, {k: float(loss[k]) for k in weights})
    dense = table.dense[index]
    method = basis.methods[name][chosen] if name in basis.methods else ""
    return paragraph(
        Reason(
            name=name,
            layers=(name,),
            option=options[chosen].label,
            method="" if options[chosen].pattern in ("dense", "width", HIERARCHICAL) else method,
            asked=basis.asked.get(name, ""),
            fixed=basis.fixed.get(name, "") if len(options) == 1 else "",
            saves={key: float(column[dense] - column[chosen]) for key, column in columns.items()},
            loss=float(loss[chosen]),
            down=step(down),
            up=step(up),
        ),
        {key: table.total(key, table.dense) for key in basis.limits},
    )


def _neighbours(
    chosen: int, rivals: Sequence[int], weights: Mapping[int, float], loss: Mapping[int, float]
) -> tuple[int | None, int | None]:
    """Of the options that no other beats in both, the next cheaper one that loses more, and the next dearer one that
    loses less."""
    slack = _SAME * max(map(abs, weights.values()), default=0.0)
    cheaper = [k for k in rivals if weights[k] < weights[chosen] - slack and loss[k] > loss[chosen]]
    dearer = [k for k in rivals if weights[k] > weights[chosen] + slack and loss[k] < loss[chosen]]
    down = min(cheaper, key=lambda k: (loss[k], weights[k]), default=None)
    up = min(dearer, key=lambda k: (weights[k], loss[k]), default=None)
    return down, up


def _group_reasons(basis: Basis, prices: Mapping[str, float], left: Mapping[str, float]) -> Iterator[Reason]:
    table = basis.table
    if not table.groups:
        return
    levels = table.levels_of(basis.choice)
    dense = {key: table.total(key, table.dense) for key in basis.limits}
    for g, group in enumerate(table.groups):
        followers = [i for i, needs in enumerate(table.requires) if any(group == g for group, _ in needs[0])]
        at = levels[g]
        order = sorted(range(len(group.levels)), key=lambda v: group.levels[v])
        place = order.index(at)
        full = max(range(len(group.levels)), key=lambda v: group.levels[v])
        narrower = _first_step(basis, g, reversed(order[:place]), prices, left)
        wider = _first_step(basis, g, order[place + 1 :], prices, left)
        if at == full and narrower is None:
            continue  # masks hold it at full width, or nothing can be narrower
        own = {key: group.costs.get("weight_memory" if key == "peak_memory" else key) for key in basis.limits}
        saves = {
            key: sum(
                float(basis.column(key, i)[table.dense[i]] - basis.column(key, i)[basis.choice[i]]) for i in followers
            )
            + (float(column[full] - column[at]) if column is not None else 0.0)
            for key, column in own.items()
        }
        yield paragraph(
            Reason(
                name=group.name,
                layers=tuple(table.layers[i] for i in followers),
                option=f"width {group.levels[at]:.4g}",
                saves=saves,
                loss=sum(float(table.loss[i][basis.choice[i]]) for i in followers)
                + (float(group.loss[at]) if group.loss is not None else 0.0),
                down=narrower,
                up=wider,
            ),
            dense,
        )


def _first_step(
    basis: Basis,
    g: int,
    levels: Iterable[int],
    prices: Mapping[str, float],
    left: Mapping[str, float],
) -> Step | None:
    """The first of these levels that every layer of the group has an option for; the network's totals with it."""
    table = basis.table
    for level in levels:
        moved = with_level(basis, g, level)
        if moved is None:
            continue
        more = {key: table.total(key, moved) - table.total(key, basis.choice) for key in basis.limits}
        lost = table.objective(moved) - table.objective(basis.choice)
        return _step(f"width {table.groups[g].levels[level]:.4g}", more, lost, prices, left)
    return None


def with_level(basis: Basis, g: int, level: int, choice: Choice | None = None) -> Choice | None:
    """The choice with one width group at another level: of each of its layers the option of least loss and price that
    leaves all other groups as they are. None where a layer has no such option.

    Args:
        basis: the table and the prices.
        g: the group.
        level: the index of its new level.
        choice: what is changed; the basis's own where None.
    """
    table = basis.table
    moved = (basis.choice if choice is None else choice).copy()
    for i, needs in enumerate(table.requires):
        if not any(group == g for group, _ in needs[0]):
            continue
        able = basis.alike(i, [(group, level if group == g else v) for group, v in needs[moved[i]]])
        if not able:
            return None
        worth = {
            k: float(table.loss[i][k])
            + sum(basis.prices.get(key, 0.0) * float(basis.column(key, i)[k]) for key in basis.limits)
            for k in able
        }
        moved[i] = min(able, key=worth.__getitem__)
    return moved


def _step(
    option: str, more: Mapping[str, float], loss: float, prices: Mapping[str, float], left: Mapping[str, float]
) -> Step:
    worth = sum(prices[key] * amount for key, amount in more.items())
    return Step(
        option=option, costs=dict(more), loss=loss, worth=worth, fits=all(more[key] <= left[key] for key in more)
    )
