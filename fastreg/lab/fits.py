"""Many independent fits: spread over processes, one thread each, and remembered on disk.

A fit is a function of its settings and of nothing else: plain arguments in, a dict of numbers and
lists out. It is run by joblib, whose ``parallel_config`` also sends it to Dask or Ray. Where a
worker dies, what has arrived is kept and the rest is run by others.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import itertools
import json
import multiprocessing.resource_tracker
import os
import random
import signal
import sys
import time
import warnings
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
from joblib.externals.loky.backend import resource_tracker as loky_tracker
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import fastreg
from fastreg._core.checks import integer
from fastreg._train.predict import outputs_of
from fastreg.lab.data import fingerprint
from fastreg.study.workers import results

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Outcomes", "grid", "run", "seeds_of", "train"]


def grid(**values: Any) -> Any:
    """Return every combination of the values, which are lists; the last name varies fastest.

    Examples
    --------
    >>> grid(rate=[0.0, 0.5], seed=[1])
    [{'rate': 0.0, 'seed': 1}, {'rate': 0.5, 'seed': 1}]
    """
    return [
        dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())
    ]


def seeds_of(seeds: Any) -> Any:
    """Return this many seeds, 0, 1, …; at least two, since one gives no interval."""
    return list(range(integer("run", "seeds", seeds, low=2)))


class Outcomes(list[dict[str, Any]]):
    """Dicts, one per fit: its settings and what came out."""

    def where(self, **settings: Any) -> Any:
        """Return those that have these settings."""
        return Outcomes(
            o for o in self if all(key in o and o[key] == settings[key] for key in settings)
        )

    def values(self, key: Any, **settings: Any) -> Any:
        """Return one number per seed, or a curve per seed: the seed is the last axis."""
        chosen = self.where(**settings)
        return np.array([outcome[key] for outcome in chosen], np.float64).T


def run(
    fit: Any, settings: Any, *, jobs: Any = None, cache: Any = None, progress: bool = True
) -> Any:
    """Call ``fit(**one)`` for each of the settings and return `Outcomes` in their order.

    Parameters
    ----------
    fit : callable
        A function at the top of a module, so that joblib can send it by name.
    settings : list of dict
        Arguments, which JSON must be able to hold.
    jobs : int, keyword-only
        Number of processes; left out, as `joblib.parallel_config` says, or one.
    cache : path, keyword-only
        A folder. A fit whose outcome is there is not run again. Outcomes are written as they
        arrive, so that an interrupted run continues where it was. The key is the settings, the
        data file, the version of fastreg and all code that the fit can reach.
    progress : bool or str, keyword-only
        Whether to show a progress bar on a terminal; a text is shown before the bar.
    """
    label = fit.__module__.rpartition(".")[2]
    paths = [_path(cache, label, fit, one) for one in settings]
    found: list[Any] = [_recall(path) for path in paths]
    missing = [i for i, outcome in enumerate(found) if outcome is None]
    if cache is not None:
        Path(cache).mkdir(parents=True, exist_ok=True)
    random.Random(0).shuffle(missing)  # so that the first fits are typical, for the estimate
    bar = Bar(
        total=len(settings),
        initial=len(settings) - len(missing),
        desc=f"{progress}: {label}" if isinstance(progress, str) else label,
        unit="fit",
        disable=None if progress else True,
    )
    bar.workers = min(joblib.effective_n_jobs(jobs), max(1, len(missing)))
    with bar:
        while missing:
            before = len(missing)
            try:
                for i, text, seconds in _arriving(jobs, fit, settings, missing):
                    _remember(paths[i], text)
                    found[i] = json.loads(text)
                    missing.remove(i)
                    bar.count(seconds)
            except _deaths():  # what has arrived is kept; a fit that kills every worker ends it
                if len(missing) == before:
                    raise
    return Outcomes({**one, **outcome} for one, outcome in zip(settings, found, strict=True))


class Bar(tqdm):
    """A bar whose estimate is based on the fits' own times, not on the start of the processes."""

    workers: int = 1
    done: int = 0
    spent: float = 0.0

    def count(self, seconds: Any) -> None:
        """Take note of a fit and the seconds it took."""
        self.done, self.spent = self.done + 1, self.spent + seconds
        self.update()

    @property
    def format_dict(self) -> Any:
        """The texts of the bar, with the rate for its estimate."""
        rate = self.workers * self.done / self.spent if self.spent else None
        return {**super().format_dict, "rate": rate}


def _arriving(jobs, fit, settings, missing) -> Iterator[Any]:
    """Yield outcomes as they arrive."""
    tasks = [joblib.delayed(_numbered)(i, fit, settings[i]) for i in missing]
    with _interrupts_held():
        arriving = results(tasks, jobs, ordered=False)
    yield from arriving


def _deaths():
    """What says that a worker died; Dask gives its work to another one by itself."""
    ray = sys.modules.get("ray")
    return BrokenExecutor, *([ray.exceptions.RayActorError] if ray else [])


@contextlib.contextmanager
def _interrupts_held():
    """Hold Ctrl-C back while processes start: they inherit that, and only this process answers.

    Starting a resource tracker lets signals through again, so both trackers are started before.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    multiprocessing.resource_tracker.ensure_running()
    loky_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _numbered(i, fit, settings):
    """Run one fit on one thread; its outcome does not depend on what else is running."""
    begin = time.perf_counter()
    with threadpool_limits(1), fastreg.num_threads(1):
        text = json.dumps(fit(**settings))
    return i, text, time.perf_counter() - begin


def _path(cache, label, fit, settings):
    if cache is None:
        return None
    home = Path(fastreg.__file__).parent
    key = [fastreg.__version__, inspect.getsource(fit), _code(home, inspect.getfile(fit)), settings]
    if "data" in settings:
        key.append(fingerprint(settings["data"]))
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
    return Path(cache) / f"{label}-{digest[:24]}.json"


@functools.cache
def _code(home, module):
    """Return a digest of the package and its compiled files, except code that shows results."""
    lab = home / "lab"
    files = {Path(module), *(lab / f"{name}.py" for name in ("data", "fits", "normed"))}
    files |= {path for path in home.rglob("*.*") if lab not in path.parents}
    digest = hashlib.sha256()
    for path in sorted(files):
        if path.suffix in (".py", ".so", ".pyd") and path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _recall(path):
    if path is None or not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # not ours, or damaged: run again
        return None


def _remember(path, text):
    """Write a file completely or not at all."""
    if path is not None:
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)


@np.errstate(over="ignore", invalid="ignore")  # a run may diverge
def train(trainer: Any, problem: Any, *, epochs: Any, batch_size: int = 64) -> Any:
    """Train to the end; return the curves, and the scores on the test data, which are used once.

    Returns
    -------
    dict
        ``loss`` and ``val_loss``, ``train_score`` and ``val_score``: lists of an entry per epoch;
        ``test_score`` and ``test_loss`` of the last weights; ``seconds`` of training;
        ``diverged``. If the loss is no longer finite, the rest of the curves is infinity (losses)
        and 0 (scores).
    """
    trainer.progress, diverged = False, False
    try:
        with warnings.catch_warnings():  # the rows left over at an epoch's end may be one
            warnings.filterwarnings("ignore", "BatchNorm.forward: a training batch with one value")
            trainer.fit(
                problem.X_train,
                problem.y_train,
                X_val=problem.X_val,
                y_val=problem.y_val,
                epochs=epochs,
                batch_size=batch_size,
                evaluate_training=True,
            )
    except FloatingPointError:
        diverged = True
    history = trainer.history
    curves = {"loss": history.get("loss", []), "val_loss": history.get("val_loss", [])}
    for key, known, y in (
        ("train_score", "accuracy", problem.y_train),
        ("val_score", "val_accuracy", problem.y_val),
    ):
        losses = curves["val_loss" if key == "val_score" else "loss"]
        curves[key] = history.get(known, [1.0 - loss / float(np.var(y)) for loss in losses])
    for key, curve in curves.items():
        worst = np.inf if key.endswith("loss") else 0.0
        curve += [worst] * (epochs - len(curve)) if diverged else []
    test_loss, test_score = np.inf, 0.0
    if not diverged:
        outputs = outputs_of(trainer.model, problem.X_test)
        test_loss = problem.loss(outputs, problem.y_test)[0]
        test_score = problem.score(outputs, problem.y_test)
    return {
        **curves,
        "test_loss": test_loss,
        "test_score": test_score,
        "seconds": sum(history.get("seconds", [])),
        "diverged": diverged,
    }
