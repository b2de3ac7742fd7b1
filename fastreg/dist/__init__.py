"""Data-parallel training over MPI: ``Trainer(..., comm=MPI.COMM_WORLD)`` is the whole change.

`fastreg.train.Trainer` comes here if it is given ``comm`` or ``shards``. Any object with mpi4py's
``rank``, ``size``, ``allgather``, ``bcast``, ``Isend``, ``Irecv`` and ``Abort`` is a communicator.
"""

__all__: list[str] = []
