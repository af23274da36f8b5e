"""`advisor methods`: what `advisor validate --method` can train with."""

from __future__ import annotations

from typing import Any

import click

from advisor.commands.options import json_option, table


@click.command()
@json_option
def methods() -> tuple[dict[str, Any], str]:
    """List the training methods, with what each is applied to and its settings.

    \b
    Examples
      advisor methods
      advisor validate zoo:digits_cnn --plan plan.json --method rigl --method orthogonal@dense:strength=0.1 --out r/
    """
    from validation.methods.registry import FORM, described

    found = described()
    rows = [
        [one["name"], one["target"], ", ".join(f"{key}={value}" for key, value in one["settings"].items()), one["text"]]
        for one in found
    ]
    listed = table(["method", "applied to", "settings", "what it does"], rows)
    return {"methods": found, "form": FORM}, f"{listed}\n\n--method {FORM}"
