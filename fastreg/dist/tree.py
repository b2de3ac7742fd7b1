"""Sums over shards in the order of one binary tree, whoever holds which shards.

The tree over shards ``low`` to ``high`` parts them so that the left side is the largest power of
two of them that is not all: 5 shards are added as ``((0 + 1) + (2 + 3)) + 4``. A sum over a
subtree is the same number wherever it is taken, so that ranks may add up what is theirs first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Node", "cuts", "middle", "nodes", "tree_sum"]

Node = tuple[int, int]  # the shards from the first to before the second


def cuts(n: int, parts: int) -> list[int]:
    """Return where n things are cut into parts of almost one size, from 0 to n.

    Examples
    --------
    >>> cuts(10, 4)
    [0, 2, 5, 7, 10]
    """
    return [n * k // parts for k in range(parts + 1)]


def middle(low: int, high: int) -> int:
    """Return where the shards from ``low`` to before ``high``, at least two, are parted.

    Examples
    --------
    >>> middle(0, 4), middle(0, 5), middle(4, 7)
    (2, 4, 6)
    """
    return low + (1 << (high - low - 1).bit_length() - 1)


def nodes(low: int, high: int, first: int, last: int) -> list[Node]:
    """Return the largest subtrees of a tree that hold only shards from first to before last.

    Examples
    --------
    >>> nodes(0, 8, 2, 7)
    [(2, 4), (4, 6), (6, 7)]
    """
    if high <= first or last <= low:
        return []
    if first <= low and high <= last:
        return [(low, high)]
    part = middle(low, high)
    return [*nodes(low, part, first, last), *nodes(part, high, first, last)]


def tree_sum(low: int, high: int, parts: Mapping[Node, Any], add: Callable[[Any, Any], Any]) -> Any:
    """Return the sum over a tree of what is known of its subtrees; None where nothing is.

    Examples
    --------
    >>> tree_sum(0, 5, {(0, 2): "01", (2, 3): "2", (4, 5): "4"}, lambda a, b: f"({a}+{b})")
    '((01+2)+4)'
    """
    if (low, high) in parts:
        return parts[low, high]
    if high - low < 2:
        return None
    part = middle(low, high)
    left, right = tree_sum(low, part, parts, add), tree_sum(part, high, parts, add)
    if left is None or right is None:
        return right if left is None else left
    return add(left, right)
