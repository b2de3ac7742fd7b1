"""The pytest side: a test per work and contender, whose times go to pytest-benchmark.

A suite lists works and says `compared`; each test then is one contender at one work. The first
test of a work measures all its contenders in turns (`turns`), and every test hands the samples of
its own to pytest-benchmark, which saves and compares them as it does its own.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import fastreg
from fastreg._core import _kernels
from fastreg.bench.contenders import Contender, known
from fastreg.bench.turns import Effort, Taken, Turns
from fastreg.bench.work import CHECKED, Work

__all__ = ["Side", "compared", "side"]

FULL = Effort(rounds=7, sample=10e-3, budget=1.0)
QUICK = Effort(rounds=5, sample=6e-3, budget=0.15, least=2)
TINY = Effort(rounds=2, sample=0.0, budget=0.0, least=2)
MEASURED = pytest.StashKey[dict]()
TURNS = pytest.StashKey[Turns]()


class Side(NamedTuple):
    """A contender at a work."""

    work: Work
    contender: Contender


class Clock:
    """A timer that a sample is added to: what was measured elsewhere passes as time here."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()


def threads() -> list[int]:
    """Return powers of two up to all threads, the most first."""
    most = fastreg.get_num_threads()
    return sorted({most, *(2**i for i in range(most.bit_length()) if 2**i <= most)}, reverse=True)


def contenders(work: Work) -> list[Contender]:
    """List who could take part; where memory bounds the work, the machine itself does, too.

    What would only say again what other works say is left out, so that a full run ends in half
    an hour: float64 on fewer threads, with older instruction sets and compiled by torch; other
    libraries on fewer threads where memory is the limit; and what torch compiles, but for whole
    steps and, on all threads, the works of a million elements or more.
    """
    counts = threads()
    found = known(work.kind, counts, list(reversed(_kernels.levels()))[1:])
    most: dict[tuple[str, str], int] = {}
    for one in found:
        key = one.library, one.form
        most[key] = max(one.threads, most.get(key, 0))
    floor = work.floor()
    for one in list(found) if work.kind != "limit" else ():
        fewer = one.threads < most[one.library, one.form]
        compiled = one.form == "compiled"  # which takes some seconds each time
        again = work.dtype == "float64" and (fewer or one.level or compiled)
        again = again or (fewer and floor is not None and one.library != "fast")
        small = fewer or work.elements < CHECKED
        if again or (compiled and small and work.kind != "step"):
            found.remove(one)
    if floor is not None:
        found.append(Contender("machine", floor.name, counts[0]))
    return found


def compared(*works: Work) -> Any:
    """Make a test of each work and each of its contenders."""
    sides = [
        pytest.param(Side(work, contender), id=f"{work.id}-{contender.name}")
        for work in works
        for contender in contenders(work)
    ]

    def mark(function: Callable[..., Any]) -> Any:
        marked = pytest.mark.parametrize("side", sides, indirect=True)(function)
        return pytest.mark.benchmark(timer=CLOCK, warmup=False)(marked)

    return mark


def pytest_addoption(parser: Any) -> None:
    """Add what a run takes."""
    group = parser.getgroup("fastreg")
    group.addoption("--quick", action="store_true", help="minutes: few works, few rounds")
    group.addoption("--tiny", action="store_true", help="works shrunk to nothing: tests the suites")
    group.addoption("--libraries", default="", metavar="NAME,...", help="take part (default: all)")


def pytest_configure(config: Any) -> None:
    """Start with no results."""
    effort = QUICK if config.option.quick else FULL
    config.stash[TURNS] = Turns(TINY if config.option.tiny else effort, log=_log())
    config.stash[MEASURED] = {}


def _log():
    """Return where the processes write what their libraries have to say: nowhere, if not asked."""
    path = os.environ.get("FASTREG_BENCH_LOG")
    return open(path or os.devnull, "a", encoding="utf-8")


def pytest_unconfigure(config: Any) -> None:
    """End all processes."""
    if TURNS in config.stash:
        config.stash[TURNS].end()
        config.stash[TURNS].log.close()


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Leave out what a short run leaves out, and libraries that were not asked for."""
    asked = {"fast", "machine", *filter(None, config.option.libraries.split(","))}

    def stays(item):
        found = side_of(item)
        if found is None:
            return True
        if config.option.libraries and found.contender.library not in asked:
            return False
        return not config.option.quick or (found.work.quick and found.contender.quick)

    gone = [item for item in items if not stays(item)]
    if gone:
        config.hook.pytest_deselected(items=gone)
        items[:] = [item for item in items if stays(item)]


def side_of(item: Any) -> Any:
    """Return the side of a test, or None if it compares nothing."""
    callspec = getattr(item, "callspec", None)
    found = callspec.params.get("side") if callspec else None
    return found if isinstance(found, Side) else None


@pytest.fixture
def side(request: Any, benchmark: Any) -> Callable[[], None]:
    """Return a call that hands a contender's samples to pytest-benchmark."""
    work, contender = request.param
    case, found = _measured(request, work)
    taken = found[contender.name]
    seconds = iter(taken.seconds)

    def pass_time():
        CLOCK.now += next(seconds, 0.0)

    def call():
        if taken.wrong:
            pytest.fail(taken.wrong, pytrace=False)
        if taken.missing:
            pytest.skip(taken.missing)
        benchmark.group = work.label or work.id
        benchmark.extra_info |= about(case, contender, taken)
        benchmark.pedantic(pass_time, rounds=len(taken.seconds))

    return call


def _measured(request, work) -> tuple[Work, dict[str, Taken]]:
    """Return what was timed, which is next to nothing in a tiny run, and what came of it."""
    measured = request.config.stash[MEASURED]
    if work not in measured:
        sides = filter(None, map(side_of, request.session.items))
        contenders = [contender for other, contender in sides if other == work]
        case = work.tiny() if request.config.option.tiny else work
        measured[work] = case, request.config.stash[TURNS].measure(case, contenders)
    return measured[work]


def about(work: Work, contender: Contender, taken: Taken) -> dict[str, Any]:
    """Collect what is saved with the times."""
    return {
        "work": dataclasses.asdict(work) | {"id": work.id, "elements": work.elements},
        "contender": dataclasses.asdict(contender) | {"name": contender.name},
        "given": taken.given,
        "bytes": work.problem.bytes_moved(work),
        "operations": work.problem.operations(work),
    }


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    """Let saved runs say what ran."""
    machine_info["fastreg"] = {
        "version": fastreg.__version__,
        "level": _kernels.level(),
        "threads": fastreg.get_num_threads(),
        "date": f"{datetime.date.today():%Y-%m-%d}",
        "mode": "quick" if config.option.quick else "full",
    }
