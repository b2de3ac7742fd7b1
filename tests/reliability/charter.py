"""What a row of the charter is: a promise, a check that counts, and faults that make it red.

A check takes how much of it is to be done and returns how much was; it raises where the promise is
broken. ``short`` of it is done by the suite, ``full`` by ``make reliability``. A row that the
suite's own tests keep names them instead, and its full form runs them again and again. Each run has
another FASTREG_TEST_SEED, so what tests draw from the fixture ``rng`` is new in each. What they
draw from ``fixed_rng`` or a seed of their own is not: C-01 trains the same runs, N-03 and M-06 have
the same numbers, D-01, D-02 and D-05 the same keys. C-04, F-03 and M-09 draw nothing; other runs
meet another order of events. A fault is a function of pytest's ``MonkeyPatch``; with it, the same
check must be red.
"""

import contextlib
import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TREE = HERE.parents[1]
FAULT = "FASTREG_FAULT"  # the planted fault, for tests in a process of their own (planted.py)


class Broken(AssertionError):  # noqa: N818
    """A promise is not kept."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One promise: its check, how much of it there is to do, and its faults."""

    id: str
    promise: str
    unit: str
    check: Callable[[int], int] | None = None
    full: int = 0
    short: int = 0  # 0: the suite does it elsewhere, or it is too long for the suite
    planted: int = 0  # how much is done with a fault; as `short` if 0
    faults: tuple = ()
    tests: tuple = ()  # of the suite, which are the row's short form
    slow: bool = False  # whether its faults are for `make reliability` alone
    why_not: str = ""  # why it cannot be run here
    needs: Callable[[], str] = lambda: ""  # what is missing here, if anything
    lacks: str = ""  # what one could expect of the promise, and nothing here looks at


ROWS: dict[str, Row] = {}


def enter(row):
    assert row.id not in ROWS, row.id
    ROWS[row.id] = row


def row(name, promise, unit, **options):
    """Enter the decorated check as a row."""

    def entered(check):
        enter(Row(name, promise, unit, check, **options))
        return check

    return entered


def kept_by(name, promise, *tests, times, select=(), environment=None, **options):
    """Enter a row that tests of the suite keep; the full form runs them ``times`` times."""

    def check(n):
        return sum(
            passed(*tests, *select, FASTREG_TEST_SEED=str(1000 + k), **(environment or {}))
            for k in range(n)
        )

    enter(Row(name, promise, "tests", check, times, tests=tests, planted=1, **options))


def absent(name, promise, why):
    """Enter a row that has no check, and say why."""
    enter(Row(name, promise, "", why_not=why))


def passed(*arguments, **environment):
    """How many tests pass, all that run, in a process of their own."""
    paths = [str(HERE), *(path or os.getcwd() for path in sys.path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "planted", "-p", "no:cacheprovider", "-x"]
        + [*arguments],
        cwd=TREE, capture_output=True, text=True, timeout=4 * 3600,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment},
    )  # fmt: skip
    count = re.search(r"(\d+) passed", done.stdout)
    if done.returncode or not count:
        raise Broken(f"{' '.join(arguments)}\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    return int(count[1])


@contextlib.contextmanager
def planted(fault):
    """Plant a fault in this process, and in those that ``passed`` starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FAULT, f"{fault.__module__}:{fault.__name__}")
        fault(patch)
        yield


def is_noticed(row, fault):
    """Whether a row is red with a fault."""
    with planted(fault):
        try:
            row.check(row.planted or row.short)
        except AssertionError:  # any other error is one of the check itself
            return True
    return False
