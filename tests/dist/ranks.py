"""A communicator of threads: mpi4py's methods, as far as training needs them."""

import pickle
import queue
import threading

import numpy as np


class AbortedError(Exception):
    pass


class Request:
    def __init__(self, wait=None):
        self._wait = wait

    def Wait(self):  # noqa: N802
        wait, self._wait = self._wait, None
        if wait:
            wait()

    def Test(self):  # noqa: N802
        return self._wait is None


class Threads:
    """One rank among the threads of `run`."""

    def __init__(self, rank, size, shared):
        self.rank, self.size, self._shared = rank, size, shared
        self.sent = 0

    def allgather(self, own):
        slots, barrier = self._shared["slots"], self._shared["barrier"]
        slots[self.rank] = pickle.dumps(own)
        try:
            barrier.wait(60)
            found = [pickle.loads(one) for one in slots]
            barrier.wait(60)
        except threading.BrokenBarrierError:
            raise AbortedError from None
        return found

    def bcast(self, own, root=0):
        return self.allgather(own)[root]

    def Isend(self, array, dest, tag=0):  # noqa: N802
        assert array.dtype == np.uint8 and array.ndim == 1
        self.sent += array.nbytes
        self._shared["queues"][self.rank, dest].put(array.tobytes())
        return Request()

    def Irecv(self, array, source, tag=0):  # noqa: N802
        def wait():
            found = self._shared["queues"][source, self.rank].get(timeout=60)
            if found is None:
                raise AbortedError
            array[:] = np.frombuffer(found, np.uint8)

        return Request(wait)

    def Abort(self, code=1):  # noqa: N802
        self._shared["barrier"].abort()
        for one in self._shared["queues"].values():
            one.put(None)
        raise AbortedError


def run(size, work):
    """Return what ``work(comm)`` returns on each rank; raise what a rank raises."""
    queues = {(a, b): queue.Queue() for a in range(size) for b in range(size)}
    shared = {"slots": [None] * size, "barrier": threading.Barrier(size), "queues": queues}
    found, errors = [None] * size, [None] * size

    def body(rank):
        comm = Threads(rank, size, shared)
        try:
            found[rank] = work(comm)
        except BaseException as error:
            errors[rank] = error
            shared["barrier"].abort()
            for one in queues.values():
                one.put(None)

    threads = [threading.Thread(target=body, args=(rank,)) for rank in range(size)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    for error in sorted((e for e in errors if e), key=lambda e: isinstance(e, AbortedError)):
        raise error
    return found
