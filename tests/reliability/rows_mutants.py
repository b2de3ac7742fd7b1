"""X: mutants, and calls without end in flat memory."""

import gc
import os
import subprocess
import sys

import charter
import numpy as np
import verdicts
from charter import Broken, row

import fastreg

FEW = 30  # what is planted without a build


def nobody_looks(patch):
    """Tests that look at something else."""
    patch.setenv(verdicts.ONLY, "tests/bench/test_statistics.py")


@row(
    "X-02",
    "of mutants of C, Cython and Python (operators, bounds, numbers, dropped statements, exchanged arguments) 95 % are noticed by the tests of their source; those that are not are listed below",
    "mutants",
    full=300,
    short=3,
    faults=(nobody_looks,),
)
def noticed(n):
    """All of them; or, if they are few, some in Python that were noticed before, once more."""
    few = n < FEW
    kind = ["again", str(n)] if few else ["all", str(n), "--afresh"]
    verdict = [sys.executable, str(charter.HERE / "verdicts.py"), *kind]
    done = subprocess.run(verdict, capture_output=True, text=True)
    said = done.stdout.splitlines()
    if done.returncode:
        raise RuntimeError(done.stderr)
    if few:
        if said[-1] != str(n):
            raise Broken(f"{said[-1]} of {n} mutants are still noticed: {said[:-1]}")
        return n
    found = verdicts.load().values()
    counted = [one for one in found if not one.get("why")]  # such as change nothing are explained
    alive = [one for one in counted if one["result"] in ("lived", "open")]
    if len(alive) > 0.05 * len(counted):
        raise Broken(f"{len(alive)} of {len(counted)} mutants live")
    return len(found)


def kept(patch):
    """An optimizer that remembers every gradient."""
    plain, memory = fastreg.Adam.update, []

    def update(self, params, grads):
        memory.append(grads["w"].copy())
        plain(self, params, grads)

    patch.setattr(fastreg.Adam, "update", update)


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@row(
    "X-03",
    "calls without end of an optimizer, a dropout and a norm leave memory where it was: fewer than 100 blocks of Python, less than 2 MiB in all",
    "calls",
    full=10_000_000,
    short=30_000,
    faults=(kept,),
    needs=lambda: "" if os.path.exists("/proc/self/statm") else "no /proc",
)
def flat(n):
    w, g = {"w": np.ones((4, 8))}, {"w": np.ones((4, 8))}
    optimizer, drop, norm = fastreg.Adam(), fastreg.Dropout(0.5, rng=1), fastreg.LayerNorm(8)

    def turns(times):
        for _ in range(times):
            optimizer.update(w, g)
            drop.forward(w["w"])
            norm.forward(w["w"])

    turns(1_000)
    gc.collect()
    before, blocks = resident(), sys.getallocatedblocks()
    turns(n // 3)
    gc.collect()
    more, left = resident() - before, sys.getallocatedblocks() - blocks
    if left >= 100 or more >= 2 << 20:
        raise Broken(f"{n} calls leave {left} blocks and {more} bytes")
    return n // 3 * 3
