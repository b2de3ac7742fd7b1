"""M-07: no memory."""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from charter import HERE, TREE, Broken, row
from rows_nested import library

import fastreg

SWEEPS = TREE / "tests" / "sweeps"
CALLS = 855  # in the table, about
FORMS = (1, 20, 0)  # one allocation fails; twenty in a row; one of C's and of the pool
PROGRAM = """
import runpy, sys
import planted
planted.pytest_configure()
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def torn(patch):
    """A layer that needs memory when it has drawn its numbers."""
    plain = fastreg.Dropout.forward

    def forward(self, *arguments, **options):
        drawn = plain(self, *arguments, **options)
        return bytes(10_000) and drawn

    patch.setattr(fastreg.Dropout, "forward", forward)


def swallowed(patch):
    """A layer that is out of memory and says something else."""
    plain = fastreg.Dropout.forward

    def forward(self, *arguments, **options):
        try:
            return plain(self, *arguments, **options)
        except MemoryError:
            raise ValueError("bad input") from None

    patch.setattr(fastreg.Dropout, "forward", forward)


def starved(stride, form, folder):
    """How many calls every ``stride``-th of the table are; each of their allocations failed once.

    The whole table has a training in front.
    """
    shim = []
    if not form:
        shim = [library(folder, "starved", (SWEEPS / "starved.c").read_text())]
        if shim == [None]:
            return 0
    paths = [str(SWEEPS), str(HERE), str(TREE), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(SWEEPS / "starve.py"), str(1 % stride), str(stride),
         str(form or 1), "0", *shim],
        env={
            **os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONMALLOC": "malloc",
            "MALLOC_PERTURB_": "165", "OPENBLAS_NUM_THREADS": "1",
            **({"LD_PRELOAD": shim[0]} if shim else {}),
        },
        capture_output=True, text=True, timeout=4 * 3600,
    )  # fmt: skip
    if done.returncode:
        raise Broken(f"every {stride}th, {form}: {done.stdout}{done.stderr[-2000:]}")
    return len(re.findall(" …$", done.stderr, re.MULTILINE))


@row(
    "M-07",
    "each allocation of every public call and of a training fails in turn, one or twenty in a row, those of C and of the pool too: MemoryError, nothing has changed, and the next attempt gives what it would have",
    "calls",
    lacks="memory that is lost by a call that had too little of it, and calls that starve.py leaves out, with reasons: of some NumPy, CPython or another library ends the process",
    full=len(FORMS) * CALLS,
    short=1,
    planted=1,
    faults=(swallowed, torn),
    needs=lambda: "" if importlib.util.find_spec("_testcapi") else "needs _testcapi",
)
def no_memory(n):
    """n calls, as many of each form: all of the table, or some spread over it."""
    done = 0
    with tempfile.TemporaryDirectory() as folder:
        for left, form in zip((3, 2, 1), FORMS, strict=True):
            if done < n:
                done += starved(max(1, CALLS * left // (n - done)), form, Path(folder))
    return done
