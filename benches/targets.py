"""What a comparison should show, as text and as a number to check."""

from collections.abc import Callable
from typing import NamedTuple


class Target(NamedTuple):
    """A bound on one number of a :class:`comparison.Result`."""

    text: str
    value: Callable  # from a result to the number; None where a backend is missing
    at_least: float = float("-inf")
    at_most: float = float("inf")

    def met(self, result):
        """Say whether the result keeps to the bound, None where a backend is missing."""
        value = self.value(result)
        return None if value is None else self.at_least <= value <= self.at_most


def faster(factor, backend):
    """Ask for at least ``factor`` times the speed of a backend."""
    text = f"≥ {factor:g}× {backend}"
    return Target(text, lambda result: result.speedup(backend), at_least=factor)


def time_ratio(factor, backend):
    """Ask for at most ``factor`` times the time of a backend."""

    def value(result):
        speedup = result.speedup(backend)
        return None if speedup is None else 1.0 / speedup

    return Target(f"≤ {factor:g}× {backend}", value, at_most=factor)


def within(microseconds):
    """Ask that a call take at most this long."""
    text = f"≤ {microseconds:g} µs"
    return Target(text, lambda result: 1e6 * result.fastreg, at_most=microseconds)


def of_floor(percent):
    """Ask for at least this share of the bandwidth measured in the same rounds."""

    def value(result):
        speedup = result.speedup("floor")
        return None if speedup is None else 100.0 * speedup

    return Target(f"≥ {percent:g} % of floor", value, at_least=percent)
