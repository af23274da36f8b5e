"""A plan as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.commands.options import table

if TYPE_CHECKING:
    from advisor.plans.plan import Plan


def plan_text(plan: Plan) -> str:
    """Costs against budgets, then the layers that are not dense, then how good the answer is."""
    from advisor.planning.budgets import cost_text

    rows = []
    for key, line in plan.costs.items():
        share = f"{100 * line.plan / line.dense:.1f} %" if line.dense else ""
        budget = cost_text(key, line.budget) if line.budget is not None else ""
        spread = f"{line.low:.4g} to {line.high:.4g}" if line.low is not None and line.high is not None else ""
        rows.append([key, cost_text(key, line.dense), cost_text(key, line.plan), share, budget, spread])
    if not any(row[-1] for row in rows):
        rows = [row[:-1] for row in rows]
    layers = [
        [
            layer.name,
            layer.pattern,
            f"{layer.density:.4g}",
            " ".join(f"{k}={v}" for k, v in layer.parameters.items()),
            layer.method or "",
        ]
        for layer in plan.layers
        if layer.pattern != "dense"
    ]
    layers += [[x.name, x.pattern, f"{x.density:.4g}", f"window={x.window} pool={x.pool}", ""] for x in plan.attention]
    columns = ["layer", "pattern", "density", "", "runs by"]
    if not any(row[-1] for row in layers):
        layers, columns = [row[:-1] for row in layers], columns[:-1]
    dense = sum(layer.pattern == "dense" for layer in plan.layers)
    parts = [
        table(["cost", "dense", "plan", "share", "budget", "interval"][: len(rows[0])], rows, right=(1, 2, 3, 4)),
        "",
        table(columns, layers, right=(2,)) if layers else "every layer stays dense",
        f"{dense} of {len(plan.layers)} layers stay dense" if layers and dense else "",
        f"objective {plan.objective:.6g}, bound {plan.bound:.6g}, gap {100 * plan.gap:.3f} %, "
        f"{plan.status} in {plan.solve_seconds:.2f} s",
    ]
    parts += [f"budget {item.cost} binds: {item.text}" for item in plan.binding]
    if plan.rounds:
        from advisor.refining.told import round_text

        parts += [round_text(item) + (", kept" if item.kept else "") for item in plan.rounds]
    parts += [f"note: {note}" for note in plan.notes]
    return "\n".join(part for part in parts if part is not None)
