"""Lengths of schedules: steps, or texts such as "10 epochs" that become steps within a run."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from fastreg._core.checks import integer, sequence, shown
from fastreg.schedule.steps import LAST_STEP

if TYPE_CHECKING:
    from fastreg._core.types import Length

__all__ = ["BOUND", "EPOCHS", "STEPS", "Span", "growing", "length"]

BOUND, STEPS, EPOCHS = range(3)  # what a length needs of a run: nothing, its steps, also its epochs
TEXT = re.compile(r"(\d{1,16}(?:\.\d{1,16})?) ?(epochs?|%)")


def length(where: str, name: str, value: Any, *, low: int = 1) -> Length:
    """Return a number of steps as an int, or a text in its one spelling.

    Examples
    --------
    >>> length("step", "drop_every", "1.50 epoch")
    '1.5 epochs'
    """
    if not isinstance(value, str):
        return integer(where, name, value, low=low, high=LAST_STEP)
    text = " ".join(value.split())
    if text == "fit":
        return "fit"
    found = TEXT.fullmatch(text)
    if found is None:
        raise ValueError(
            f'{where}: {name} must be an integer of steps, "fit", or a text such as "10 epochs" '
            f'or "5%", got {shown(value)}'
        )
    amount = Fraction(found[1])
    high = 100 if found[2] == "%" else LAST_STEP
    if not (amount > 0 or low == 0) or amount > high:
        left = "from 0" if low == 0 else "above 0"
        raise ValueError(f"{where}: {name} must be {left} and at most {high}, got {shown(value)}")
    whole, _, rest = found[1].partition(".")
    digits = str(int(whole)) + f".{rest}".rstrip("0").rstrip(".")
    return digits + ("%" if found[2] == "%" else " epoch" if digits == "1" else " epochs")


def growing(where: str, name: str, value: Any) -> tuple[Length, ...]:
    """Return increasing lengths as a tuple; those of different units are compared in a run."""
    steps = tuple(length(where, name, one) for one in sequence(where, name, value, "steps"))
    by_unit: dict[str, list[Any]] = {}
    for amount, unit in map(_parsed, steps):
        by_unit.setdefault(unit, []).append(amount)
    for same in by_unit.values():
        if any(later <= earlier for earlier, later in pairwise(same)):
            raise ValueError(f"{where}: {name} must increase, got {shown(value)}")
    return steps


def _parsed(value: Length) -> tuple[Any, str]:
    """The amount and the unit of a checked length."""
    if isinstance(value, int):
        return value, "steps"
    if value == "fit":
        return Fraction(100), "%"
    amount = value.rstrip(" epochs%")
    return Fraction(amount), value[len(amount) :].strip(" s")


class Span:
    """The steps of a run that a schedule has: ``begin`` of them are over when it begins."""

    steps_per_epoch: int
    epochs: int | None
    begin: int

    def __init__(self, steps_per_epoch: int, epochs: int | None, begin: int = 0) -> None:
        self.steps_per_epoch, self.epochs, self.begin = steps_per_epoch, epochs, begin

    def after(self, steps: int) -> Span:
        """Return what is left after so many steps."""
        return Span(self.steps_per_epoch, self.epochs, self.begin + steps)

    def steps(self, value: Length, low: int = 1) -> int:
        """Return a length in steps: rounded, and at least ``low``.

        Examples
        --------
        >>> span = Span(100, 30, begin=500)
        >>> [span.steps(text) for text in ("fit", "2.5 epochs", "10%")]
        [2500, 250, 300]
        """
        amount, unit = _parsed(value)
        total = self.steps_per_epoch * (self.epochs or 0)
        if unit == "steps":
            return amount
        if value == "fit":
            return max(low, total - self.begin)
        return max(
            low, round(amount * (Fraction(total, 100) if unit == "%" else self.steps_per_epoch))
        )
