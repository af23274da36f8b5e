"""What `torch.einsum` multiplies: the equation as sets of letters, contracted two operands at a time as torch does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod

from advisor.network import Shape


def einsum_macs(equation: str, shapes: Sequence[Shape], path: Sequence[int] | None = None) -> int:
    """Multiply-adds of all contractions.

    Letters that only one operand has and that are not wanted later are summed before the product, and a pair with
    nothing left to sum over is multiplied element by element, which counts no MACs: that is what torch runs.

    Args:
        equation: as `torch.einsum` takes it, dots and a missing arrow included.
        shapes: of the operands.
        path: positions of each pair, flat, the result appended at the end; from left to right by default.
    """
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    terms = [_letters(term, len(shape)) for term, shape in zip(inputs.split(","), shapes, strict=True)]
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, size in zip(term, shape, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), size)
    wanted = set(output.replace(".", "")) if arrow else {c for c, n in Counter("".join(terms)).items() if n == 1}
    wanted |= {letter for letter in sizes if letter.isdigit()}
    operands = [set(term) for term in terms]
    macs = 0
    for step in range(len(operands) - 1):
        first, second = sorted(path[2 * step : 2 * step + 2]) if path else (0, 1)
        right, left = operands.pop(second), operands.pop(first)
        later = wanted.union(*operands)
        left, right = left & (right | later), right & (left | later)
        joint = left | right
        if joint - later:
            macs += prod(sizes[letter] for letter in joint)
        operands.insert(len(operands) if path else 0, joint & later)
    return macs


def _letters(term: str, rank: int) -> str:
    # "...ij" → digits stand for the axes behind the dots, counted from the right so that they broadcast
    if "..." not in term:
        return term
    before, _, after = term.partition("...")
    free = rank - len(before) - len(after)
    return before + "".join(str(axis) for axis in reversed(range(free))) + after
