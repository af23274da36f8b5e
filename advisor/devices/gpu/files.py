"""Profiles with thousands of numbers: one line an array, so that they stay small and can still be read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from advisor.files import write_bytes

_NUMBERS = re.compile(r"\[\s+(-?[\d.][-\d.,eE+\s]*?)\s+\]")


def write_compact(path: str | Path, document: Any) -> None:
    """Writes JSON as `advisor.files.write_json` does, with arrays of numbers on one line each."""
    text = json.dumps(document, indent=1, allow_nan=False)
    short = _NUMBERS.sub(lambda found: "[" + re.sub(r"\s+", "", found[1]) + "]", text)
    if json.loads(short) != json.loads(text):  # a text of the user's that looks like an array
        short = text
    write_bytes(path, (short + "\n").encode())
