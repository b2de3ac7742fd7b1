"""How an optimizer treats each parameter, by its name."""

from __future__ import annotations

import fnmatch
from typing import Any

from fastreg._core.checks import items, shown

__all__ = ["BIASES_AND_SCALES", "Membership", "checked_exclude", "checked_groups"]

#: Name patterns for ``exclude``: biases, and the scales and shifts of normalisation layers.
BIASES_AND_SCALES = ("b", "*.b", "b[0-9]*", "*bias*", "*gamma*", "*beta*")


class Membership:
    """Called with a parameter's name: its group, and whether decay and penalties apply.

    Parameters matching pattern k are in group k + 1, all others in group 0.
    """

    exclude: Any
    patterns: tuple[str, ...]

    def __init__(self, patterns: tuple[str, ...], exclude: Any) -> None:
        self.patterns, self.exclude = patterns, exclude

    def __call__(self, name: Any) -> tuple[int, bool]:
        """Return the group of a parameter, and whether decay and penalties apply to it."""
        group = next((k for k, p in enumerate(self.patterns, 1) if _matches(name, p)), 0)
        if callable(self.exclude):
            return group, not self.exclude(name)
        return group, not any(_matches(name, p) for p in self.exclude)


def _matches(name, pattern):
    return fnmatch.fnmatchcase(str(name), pattern)


def checked_groups(where: str, groups: Any, known: Any) -> dict[str, dict[str, Any]]:
    """Return ``groups``, a dictionary of overrides of known hyper-parameters by pattern."""
    if not isinstance(groups, dict) or not all(isinstance(v, dict) for v in groups.values()):
        raise TypeError(f"{where}: groups must be a dict of pattern: dict, got {shown(groups)}")
    for pattern, own in groups.items():
        if not isinstance(pattern, str):
            raise TypeError(f"{where}: groups must have patterns of names, got {shown(pattern)}")
        for name in own:
            if name not in known:
                raise ValueError(f"{where}: groups[{pattern!r}] has no hyper-parameter {name!r}")
    return groups


def checked_exclude(where: str, exclude: Any) -> Any:
    """Return a predicate, or name patterns as a tuple."""
    if callable(exclude):
        return exclude
    patterns = items(exclude)
    if patterns is None or not all(isinstance(p, str) for p in patterns):
        raise TypeError(
            f"{where}: exclude must be a predicate or a list of name patterns, got {shown(exclude)}"
        )
    return patterns
