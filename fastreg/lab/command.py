"""``fastreg lab``: run the experiments one after another and write their report."""

import time

from fastreg.config import get_num_threads
from fastreg.lab import EXPERIMENTS, data, experiment, report

__all__ = ["RefusedError", "run"]

SEEDS, QUICK_SEEDS = 5, 3


class RefusedError(Exception):
    """A request that cannot be met; the message is one line for the user."""


def run(arguments):
    """Run what the command line asks for; return the exit status."""
    names = arguments.exercise or EXPERIMENTS
    unknown = [name for name in names if name not in EXPERIMENTS]
    if unknown:
        raise RefusedError(f"EXERCISE must be among {', '.join(EXPERIMENTS)}, got {unknown[0]!r}")
    try:
        data.load(arguments.data)
    except (OSError, ValueError, TypeError) as error:
        raise RefusedError(f"--data: {error}") from error
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RefusedError(f"--out must be a folder that can be made, got {error}") from error
    begin = time.perf_counter()
    results = []
    for name in names:
        result = experiment(name).run(
            data=arguments.data,
            seeds=arguments.seeds or (QUICK_SEEDS if arguments.quick else SEEDS),
            quick=arguments.quick,
            jobs=arguments.jobs or get_num_threads(),
            cache=arguments.out / "cache",
        )
        texts = (result.title, "", result.table(), "", result.conclusion(), "", "")
        print(*texts, sep="\n", flush=True)
        results.append(result)
    try:
        path, missing = report.write(arguments.out, results, seconds=time.perf_counter() - begin)
    except OSError as error:
        raise RefusedError(f"the report could not be written, got {error}") from error
    print(f"Report: {path.resolve()}", *[f"Missing: {one}" for one in missing], sep="\n")
    return 1 if missing else 0
