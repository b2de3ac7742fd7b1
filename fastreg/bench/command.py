"""``fastreg bench``: run the suites, write what came of it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from fastreg.bench import markdown, page, results
from fastreg.bench.contenders import LABELS

__all__ = ["SUITES", "run"]

#: The suites: in the package where it is installed, beside it in a tree of sources.
SUITES = next(
    (path for path in (Path(__file__).parent / "suites", Path(__file__).parents[2] / "benches")
     if path.is_dir()),
    Path(__file__).parent / "suites",
)  # fmt: skip
OUTPUT = "results.json", "results.md", "index.html"


def run(arguments: Any) -> int:
    """Run what the command line asks for; return the exit status.

    Raises
    ------
    ValueError
        A suite or a file that is not there.
    """
    out, status = Path(arguments.out), 0
    sources = arguments.results
    if not sources:
        out.mkdir(parents=True, exist_ok=True)
        sources = [out / OUTPUT[0]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pytest-benchmark's, where nothing was measured
            status = pytest.main(_pytest_arguments(arguments, sources[0]))
        if status == pytest.ExitCode.NO_TESTS_COLLECTED:
            raise ValueError(f"-k must match some work or contender, got {arguments.only!r}")
        if not sources[0].exists() or not sources[0].stat().st_size:
            return int(status) or 1
    found = results.load(*sources)
    if arguments.readme:
        markdown.rewrite(arguments.readme, markdown.readme_rows(found))
    out.mkdir(parents=True, exist_ok=True)
    (out / OUTPUT[1]).write_text(markdown.table(found), "utf-8")
    (out / OUTPUT[2]).write_text(page.render(found), "utf-8")
    print(*(f"{(out / name).resolve()}" for name in OUTPUT), sep="\n")
    return int(status)


def _pytest_arguments(arguments, path):
    """Return what pytest is started with: nothing of the folder that one happens to be in."""
    if not SUITES.is_dir():
        raise ValueError(f"the suites must be in {SUITES}: install fastreg again")
    chosen = [SUITES / f"bench_{name}.py" for name in arguments.suite] or [SUITES]
    for suite in chosen:
        if not suite.exists():
            known = ", ".join(sorted(p.stem.removeprefix("bench_") for p in SUITES.glob("bench_*")))
            raise ValueError(
                f"SUITE must be among {known}, got {suite.stem.removeprefix('bench_')!r}"
            )
    return [
        *map(str, chosen),
        "-c", _configuration(path.parent),
        f"--rootdir={SUITES}", f"--confcutdir={SUITES}", "-q", "-p",
        "no:cacheprovider",
        "--benchmark-quiet", "--benchmark-disable-gc", f"--benchmark-json={path}",
        *(["--quick"] if arguments.quick else []),
        *(["--tiny"] if arguments.tiny else []),
        *([f"--libraries={_libraries(arguments.libraries)}"] if arguments.libraries else []),
        *(["-k", arguments.only] if arguments.only else []),
    ]  # fmt: skip


def _libraries(asked):
    """Return the modules of the libraries asked for, by their names or by these."""
    names = {name: name for name in LABELS} | {LABELS[name].lower(): name for name in LABELS}
    found = []
    for name in asked.split(","):
        if name.strip().lower() not in names:
            known = ", ".join(sorted(set(LABELS) - {"fast", "machine"}))
            raise ValueError(f"--libraries must be among {known}, got {name!r}")
        found.append(names[name.strip().lower()])
    return ",".join(found)


def _configuration(folder):
    """Write the configuration that the suites are run with; there is none in an installed wheel."""
    path = folder / "pytest.ini"
    path.write_text("[pytest]\npython_files = bench_*.py\npython_functions = bench_*\n", "utf-8")
    return str(path)
