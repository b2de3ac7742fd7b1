"""Fixed arithmetic on numbers and sums: what a schedule or a history computes once per step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastreg._core._kernels import cosine, missing_power, power, sine, sweep

if TYPE_CHECKING:
    from fastreg._core.types import Array

__all__ = ["cosine", "missing_power", "power", "sine", "squares"]


def squares(arrays: list[Array]) -> float:
    """Return the sum of all squares in float64, in the kernels' fixed order."""
    return sweep("squares", "arrays", arrays, ("squares",))[0][0] if arrays else 0.0
