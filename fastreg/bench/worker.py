"""The other end of `turns`: checks and times the calls of one library in a process of its own."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
import traceback
import warnings
from typing import Any

__all__ = ["main", "prepared", "seconds_of"]

QUIET = 0.02  # the share of a core below which a process counts as asleep
PATIENCE = 1.0  # seconds after which threads that never sleep are left alone


def main() -> None:
    """Answer one line of JSON with one line of JSON, until there are no more."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # some libraries print: not into the answers
    warnings.simplefilter("ignore")
    library, calls = sys.argv[1], {}
    for line in sys.stdin:
        do, name, *more = json.loads(line)
        if do == "prepare":
            answer: dict[str, Any] = {}
            calls[name] = _answered(answer, library, *more)
        elif do == "time":
            answer = {"seconds": seconds_of(calls[name], *more)}
            fall_asleep()
        else:
            answer = {"dropped": calls.pop(name) is not None}
        print(json.dumps(answer), file=replies, flush=True)


def _answered(answer, library, text, form):
    from fastreg.bench.contenders import MissingError
    from fastreg.bench.turns import WrongError
    from fastreg.bench.work import Work

    try:
        module = importlib.import_module(f"fastreg.bench.contenders.{library}")
        call = prepared(module, Work.from_json(text), form)
        answer["given"] = module.given(form)
        return call
    except (MissingError, ImportError) as error:
        answer["missing"] = str(error)
    except WrongError as error:
        answer["wrong"] = str(error)
    except Exception as error:  # a contender that fails must not end the run of the others
        traceback.print_exc()
        answer["missing"] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return None


def prepared(module: Any, work: Any, form: str) -> Any:
    """Return a call without arguments that does the work, whose result has been checked.

    Large work, and work that draws random numbers, is checked on a case of the same kind that is
    small or draws none (`Work.checked`).
    """
    from fastreg.bench.contenders import MissingError
    from fastreg.bench.turns import WrongError

    make = getattr(module, work.kind, None)
    if make is None:
        raise MissingError(f"{module.NAME} has nothing of this kind")
    problem, case = work.problem, work.checked()
    arrays = problem.inputs(case)
    call, read = make(case, arrays, form)
    for _ in range(problem.CALLS):
        returned = call()
    try:
        problem.check(case, problem.inputs(case), read(returned), module.NAME)
    except AssertionError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise WrongError(f"{module.NAME}, {work.id}: {' '.join(lines)[:400]}") from error
    if case != work:
        call, _ = make(work, problem.inputs(work), form)
    return call


def seconds_of(call: Any, number: int) -> float:
    """Return the seconds of one of at least so many pieces of work in a row.

    A `Repeated` call does several pieces. Short calls, of which a sample has several, come after as
    many others: they wake the threads and bring the arrays back into the caches.
    """
    pieces = getattr(call, "calls", 1)
    calls = -(-number // pieces)
    for _ in range(calls if calls > 1 else 0):
        call()
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - began) / calls / pieces


def fall_asleep() -> None:
    """Wait until no thread of this process spins any more."""
    end = time.perf_counter() + PATIENCE
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(0.005)
        if time.process_time() - before < QUIET * 0.005:
            return


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main()
