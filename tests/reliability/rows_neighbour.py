"""X-03b: a call beside busy neighbours."""

import itertools
import os
import subprocess
import sys
import time

import numpy as np
from charter import Broken, row

import fastreg

TRIES = 3  # a machine may do something else for a while; a library does it each time
MOST = 3.0  # times
SIZES = (40_000, 400_000, 4_000_000)  # elements: 0.5, 5 and 50 MB that a step moves
SPIN = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"


class Neighbours:
    """A process that computes without end on each core that this one may use."""

    def __enter__(self):
        self.all = [
            subprocess.Popen([sys.executable, "-S", "-c", SPIN, str(core)])
            for core in sorted(os.sched_getaffinity(0))
        ]
        time.sleep(0.2)

    def __exit__(self, *error):
        for one in self.all:
            one.kill()
            one.wait()


def timed(steps, threads):
    """The seconds of a step of an optimizer on so many threads; None: as the team decides."""
    with fastreg.num_threads(threads):
        began = time.perf_counter()
        steps()
        return time.perf_counter() - began


def excess(n, size):
    """How many times as long as on one thread the library's choice takes in 99 of 100 calls.

    Of n calls of each, in turns, so that both have the same neighbours."""
    w, g = {"w": np.zeros(size, np.float32)}, {"w": np.ones(size, np.float32)}
    optimizer, team, alone = fastreg.Adam(), [], []
    for _ in range(20):
        optimizer.update(w, g)
    for _ in range(n):
        team.append(timed(lambda: optimizer.update(w, g), None))
        alone.append(timed(lambda: optimizer.update(w, g), 1))
    return float(np.quantile(team, 0.99) / np.quantile(alone, 0.99))


def waits_for_a_helper(patch):
    """Calls on more than one thread of which each fiftieth waits for a helper that lost its core."""
    plain, calls = fastreg.Adam.update, itertools.count()

    def update(self, params, grads):
        plain(self, params, grads)
        if fastreg.get_num_threads() > 1 and next(calls) % 50 == 0:
            time.sleep(0.1)

    patch.setattr(fastreg.Adam, "update", update)


def needs():
    if not hasattr(os, "sched_setaffinity"):
        return "pins neighbours to cores as Linux does"
    return "" if len(os.sched_getaffinity(0)) > 1 else "needs two cores"


@row(
    "X-03b",
    "beside a process that computes without end on each core, what the library chooses takes no more than 3 times as long as one thread there: in 99 of 100 calls, for steps of 0.5 to 50 MB (in one of three tries, since machines have other work, too)",
    "pairs of calls",
    full=100_000,
    short=8_000,
    planted=500,
    faults=(waits_for_a_helper,),
    needs=needs,
)
def beside_neighbours(n):
    done = 0
    for size, share in zip(SIZES, (0.9, 0.09, 0.01), strict=True):
        calls, tried = max(50, int(n * share)), []
        while True:
            with Neighbours():
                tried.append(excess(calls, size))
            done += calls
            if tried[-1] <= MOST:
                break
            if len(tried) == TRIES:
                raise Broken(f"{size} elements: {tried}")
    return done
