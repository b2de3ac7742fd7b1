"""The communicator that a `fastreg.train.Trainer` is given, and the team that follows from it."""

from __future__ import annotations

from typing import Any

from fastreg._core.checks import integer, shown
from fastreg._train.alone import Alone
from fastreg.dist.team import Team
from fastreg.nn.sequential import Sequential
from fastreg.optim import Optimizer

__all__ = ["SHARDS", "Single", "team_of"]

SHARDS = 4
METHODS = ("rank", "size", "allgather", "bcast", "Isend", "Irecv", "Abort")


class Single:
    """The communicator of one rank.

    Examples
    --------
    >>> Single().allgather("mine")
    ['mine']
    """

    rank: int = 0
    size: int = 1

    def allgather(self, own: Any) -> list[Any]:
        """Return what all ranks give."""
        return [own]

    def bcast(self, own: Any, root: int = 0) -> Any:
        """Return what one rank gives."""
        return own


def team_of(where: str, comm: Any, shards: Any, model: Any, optimizer: Any) -> Alone:
    """Return the team of a communicator, or of this process alone if there are shards.

    Examples
    --------
    >>> type(team_of("Trainer", None, None, None, None)).__name__
    'Alone'
    """
    if comm is None and shards is None:
        return Alone()
    comm = Single() if comm is None else comm
    missing = [name for name in METHODS if not hasattr(comm, name)]
    if missing and type(comm) is not Single:
        raise TypeError(
            f"{where}: comm must be a communicator such as MPI.COMM_WORLD, got {shown(comm)} "
            f"without {', '.join(missing)}"
        )
    shards = integer(where, "shards", SHARDS if shards is None else shards, low=1)
    if shards < comm.size:
        raise ValueError(
            f"{where}: shards must be at least the {comm.size} ranks, got {shards}; a run has the "
            "same result on any number of ranks up to its shards"
        )
    forward = type(model).forward if isinstance(model, Sequential) else None
    if forward is not Sequential.forward:
        raise TypeError(
            f"{where}: model must be a Sequential, whose layers the shards go through, got "
            f"{shown(model)}"
        )
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"{where}: optimizer must be one of fastreg's, whose state can be shared out, got "
            f"{shown(optimizer)}"
        )
    return Team(comm, shards)
