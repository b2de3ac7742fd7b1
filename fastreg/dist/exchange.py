"""Gradients to those who own the parameters, and parameters back to all.

Each is one message per run of a tensor between two ranks, sent as soon as it is there and received
where it belongs. The order of messages between two ranks is that of the calls, the same on both, so
that they need no numbers. A sum is taken by its owner, over a fixed tree; no order that MPI chooses
is in it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.dist.pieces import GROUP, Layout, Run, runs_of
from fastreg.dist.tree import cuts, nodes, tree_sum

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastreg._core.types import Array

__all__ = ["Exchange", "plus", "units"]

TAG = 7411  # the user's own messages on the same communicator have others


def plus(one: Array, other: Array) -> Array:
    """Add in place.

    Examples
    --------
    >>> plus(np.ones(2), np.ones(2))
    array([2., 2.])
    """
    one += other
    return one


def units(run: Run, unit: int) -> slice:
    """Return a run of elements as one of units of so many; the last one may not be full.

    Examples
    --------
    >>> units(Run(owner=0, start=512, stop=1000), 256)
    slice(2, 4, None)
    """
    return slice(run.start // unit, -(-run.stop // unit))


class Exchange:
    """The messages of one network's steps.

    Attributes
    ----------
    runs : dict
        The runs of each parameter; see `runs_of`.
    sent : int
        Bytes that this rank has sent.
    """

    comm: Any
    shards: int
    sent: int
    layouts: dict[str, Layout]
    runs: dict[str, list[Run]]
    bounds: list[int]

    def __init__(self, comm: Any, shards: int, params: Mapping[str, Array], whole: bool) -> None:
        self.comm, self.shards, self.sent = comm, shards, 0
        self.layouts = {name: Layout(name, array) for name, array in params.items()}
        self.runs = runs_of(params, comm.size, whole)
        self.bounds = cuts(shards, comm.size)
        self._nodes = [nodes(0, shards, *pair) for pair in itertools.pairwise(self.bounds)]
        self._room: dict[Any, Array] = {}
        self._known: dict[str, dict[Any, Array]] = {}
        self._open: list[Any] = []

    def owned(self, name: str, unit: int = 1) -> Any:
        """Return the elements of a parameter that this rank owns, as a slice of its row, or None.

        They are one run, since each rank's share is. ``unit``: of a row that has a number for so
        many elements.
        """
        for run in self.runs[name]:
            if run.owner == self.comm.rank:
                return units(run, unit)
        return None

    def places(self) -> dict[str, int]:
        """Return where what this rank owns begins, by name, among the elements of all parameters.

        These are counted as an optimizer counts them for what it draws.
        """
        found, first = {}, 0
        for name, layout in self.layouts.items():
            owned = self.owned(name)
            if owned is not None:
                found[name] = first + owned.start
            first += -(-layout.size // GROUP) * GROUP
        return found

    def _send(self, row: Array, rank: int) -> None:
        self._open.append((self.comm.Isend(row.view(np.uint8), rank, TAG), row))
        self.sent += row.nbytes

    def _receive(self, row: Array, rank: int) -> None:
        self._open.append((self.comm.Irecv(row.view(np.uint8), rank, TAG), row))

    def _wait(self) -> None:
        for request, _ in self._open:
            request.Wait()
        self._open = []

    def give(self, name: str, sums: Mapping[Any, Array], present: Any) -> None:
        """Begin to send this rank's sums of a gradient to its owners, and to receive theirs.

        ``sums`` are by subtree. ``present`` tells which subtrees have a sum on their rank.
        """
        layout, me = self.layouts[name], self.comm.rank
        rows = {node: layout.row(array) for node, array in sums.items()}
        for owner, start, stop in self.runs[name]:
            if owner != me:
                for row in rows.values():
                    self._send(row[start:stop], owner)
                continue
            known = self._known[name] = {node: row[start:stop] for node, row in rows.items()}
            for rank, theirs in enumerate(self._nodes):
                for node in theirs if rank != me else ():
                    if present(node):
                        room = self._room.get((name, node))
                        if room is None:
                            room = self._room[name, node] = np.empty(stop - start, layout.dtype)
                        known[node] = room
                        self._receive(room, rank)
        for request, _ in self._open:  # MPI moves messages while it is being asked
            request.Test()

    def summed(self) -> dict[str, Array]:
        """Return the sums over all shards of what this rank owns."""
        self._wait()
        known, self._known = self._known, {}
        return {name: tree_sum(0, self.shards, parts, plus) for name, parts in known.items()}

    def spread(self, params: Mapping[str, Array]) -> None:
        """Give the parameters that this rank owns to all others, and take theirs."""
        me = self.comm.rank
        for name, array in params.items():
            row = self.layouts[name].row(array)
            for owner, start, stop in self.runs[name]:
                part = row[start:stop]
                for rank in range(self.comm.size):
                    if owner == me and rank != me:
                        self._send(part, rank)
                if owner != me:
                    self._receive(part, owner)
        self._wait()

    def collect(self, name: str, part: Any, dtype: Any, unit: int = 1) -> Array:
        """Return the whole of an array that is shared out as a parameter is; all ranks get it.

        ``unit``: it is a row that has a number for so many elements.
        """
        layout, me = self.layouts[name], self.comm.rank
        row = np.empty(-(-layout.size // unit), dtype)
        for run in self.runs[name]:
            own = row[units(run, unit)]
            if run.owner == me:
                own[:] = part
                for rank in range(self.comm.size):
                    if rank != me:
                        self._send(own, rank)
            else:
                self._receive(own, run.owner)
        self._wait()
        return layout.tensor(row) if unit == 1 else row
