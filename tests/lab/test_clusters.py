"""Workers of every kind: the bits of one process, outcomes as they come, and a death in between."""

import pathlib
import signal
import subprocess
import sys

import pytest

for package in ("jinja2", "joblib", "matplotlib", "sklearn", "tqdm"):
    pytest.importorskip(package, reason="needs the extra 'lab'")

import joblib  # noqa: E402

from fastreg.lab import fits  # noqa: E402
from fastreg.study import workers  # noqa: E402

PROGRAM = pathlib.Path(__file__).parent / "on_cluster.py"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="a worker is killed")
@pytest.mark.parametrize("engine", ["loky", "dask", "ray"])
def test_a_worker_dies_and_nothing_is_lost(engine, tmp_path):
    if engine != "loky":
        needed = {"dask": "distributed", "ray": "ray"}[engine]
        pytest.importorskip(needed, reason=f"needs the extra '{engine}'")
    done = subprocess.run(
        [sys.executable, PROGRAM, engine, tmp_path], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and "whole" in done.stdout, done.stdout + done.stderr


class DiedError(Exception):
    """What a backend raises for a worker's death."""


def number(n):
    return {"n": n}


def test_a_fit_that_kills_every_worker_ends_the_run(monkeypatch, tmp_path):
    """Others' outcomes are kept; the run goes on only as long as something arrives."""
    rounds = []

    def arriving(jobs, fit, settings, missing):
        rounds.append(list(missing))
        for i in list(missing):
            if i == 2:
                raise DiedError
            yield i, "{}", 0.0

    monkeypatch.setattr(fits, "_arriving", arriving)
    monkeypatch.setattr(fits, "_deaths", lambda: DiedError)
    with pytest.raises(DiedError):
        fits.run(number, [{"n": n} for n in range(5)], cache=tmp_path)
    assert 2 in rounds[-1] and rounds[-1][0] == 2
    again = [len(one) for one in rounds]
    assert again == sorted(again, reverse=True)
    assert len(list(tmp_path.iterdir())) == 5 - len(rounds[-1])


def test_every_pool_of_processes_gives_results_as_they_come():
    with joblib.parallel_config("multiprocessing", n_jobs=2):
        for ordered in (True, False):
            found = workers.results(
                (joblib.delayed(abs)(-k) for k in range(6)), None, ordered=ordered
            )
            assert iter(found) is found
            assert sorted(found) == list(range(6))
