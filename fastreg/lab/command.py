"""``fastreg lab``: run the experiments one after another and write their report."""

import difflib
import sys
import tempfile
import time
import traceback
from typing import Any

from fastreg.config import get_num_threads
from fastreg.lab import EXPERIMENTS, data, experiment, report

__all__ = ["RefusedError", "run"]

SEEDS, QUICK_SEEDS = 5, 3


class RefusedError(Exception):
    """A request that cannot be met; the message is one line for the user."""


def run(arguments: Any) -> Any:
    """Run what the command line asks for; return the exit status."""
    names = arguments.exercise or EXPERIMENTS
    for name in names:
        if name not in EXPERIMENTS:
            near = difflib.get_close_matches(name, EXPERIMENTS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise RefusedError(
                f"EXPERIMENT must be among {', '.join(EXPERIMENTS)}, got {name!r}{hint}"
            )
    options = {
        "drop": arguments.drop_columns,
        "missing": arguments.missing,
        "words": arguments.words,
        "delimiter": arguments.delimiter,
    }
    try:
        source = data.with_options(arguments.data, **options)
        about = {"data": data.load(source).describe()}
    except (OSError, ValueError, TypeError) as error:
        raise RefusedError(f"--data: {error}") from error
    try:
        (arguments.out / "cache").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=arguments.out / "cache"):
            pass
    except OSError as error:
        raise RefusedError(f"--out must be a folder that can be made, got {error}") from error
    begin = time.perf_counter()
    results, failed = [], []
    seeds = arguments.seeds or (QUICK_SEEDS if arguments.quick else SEEDS)
    for place, name in enumerate(names, start=1):
        try:
            result = experiment(name).run(
                data=source,
                seeds=seeds,
                quick=arguments.quick,
                jobs=arguments.jobs or get_num_threads(),
                cache=arguments.out / "cache",
                progress=f"{place} of {len(names)}",
            )
            tables = [text for table in result.tables().values() for text in (table, "")]
            texts = (result.title, "", *tables, result.conclusion(), "", "")
        except Exception as error:  # one that fails must not cost the others
            failed.append(f"{name}: {_where(error)}")
            print(f"fastreg lab: {failed[-1]}", file=sys.stderr, flush=True)
            continue
        print(*texts, sep="\n", flush=True)
        results.append(result)
    seconds = time.perf_counter() - begin
    about["seeds"] = f"0 to {seeds - 1}, {'short' if arguments.quick else 'full'} trainings"
    try:
        path, missing = report.write(
            arguments.out, results, seconds=seconds, failed=failed, about=about
        )
    except OSError as error:
        raise RefusedError(f"the report could not be written, got {error}") from error
    missing = [*failed, *missing]
    print(f"Report: {path.resolve()}", *[f"Missing: {one}" for one in missing], sep="\n")
    return 1 if missing else 0


def _where(error):
    """Say in one line what went wrong and where."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text} ({place.filename}, line {place.lineno})"
