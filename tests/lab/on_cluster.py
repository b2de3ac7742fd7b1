"""A program of test_clusters.py: the same work here and on workers, one of which dies."""

import functools
import json
import os
import pathlib
import random
import signal
import sys
import time
import warnings

import joblib
import numpy as np
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier

import fastreg
from fastreg.lab import dropout_rate, fits
from fastreg.sklearn import MLPClassifier
from fastreg.study import bias_variance

ENGINE, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])
FITS = 24


def mortal(place, victim):
    """A training; the victim's first one takes its worker with it."""
    with open(FOLDER / f"began-{place}", "a") as file:
        file.write(f"{time.time()}\n")
    if place == victim and not (FOLDER / "died").exists():
        (FOLDER / "died").write_text(str(time.time()))
        os.kill(os.getpid(), signal.SIGKILL)
    found = dropout_rate.fit(data="wine", label_noise=0.2, epochs=60, rate=0.1, seed=place)
    return {**found, "number": place, "threads": fastreg.get_num_threads()}


def workers(engine):
    if engine == "dask":
        from dask.distributed import Client, LocalCluster

        Client(LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None))
        return joblib.parallel_config("dask")
    if engine == "ray":
        import ray
        from ray.util.joblib import register_ray

        ray.init(num_cpus=2, include_dashboard=False, logging_level="error")
        register_ray()
        return joblib.parallel_config("ray", n_jobs=2)
    return joblib.parallel_config(engine, n_jobs=2)


def without_times(outcomes):
    hidden = ("seconds", "victim")
    return [{k: v for k, v in one.items() if k not in hidden} for one in outcomes]


def searched():
    X, y = load_iris(return_X_y=True)
    net = MLPClassifier((8,), norm="batch", dropout=0.2, max_iter=5, tol=0, random_state=0)
    warnings.simplefilter("ignore")
    search = GridSearchCV(net, {"alpha": [1e-4, 1e-2]}, cv=3).fit(X, y)
    return search.cv_results_["mean_test_score"], search.best_estimator_.coefs_[0]


def decomposed():
    X, y = load_iris(return_X_y=True)
    tree = functools.partial(DecisionTreeClassifier, random_state=0)
    return bias_variance(tree, X, y, X, y, rounds=6, loss="zero_one", rng=0)


def main():
    order = list(range(FITS))
    random.Random(0).shuffle(order)  # as fits.run sends them out
    victim, arrived, remember = order[FITS // 2], {}, fits._remember

    def noted(path, text):
        arrived[json.loads(text)["number"]] = time.time()
        remember(path, text)

    alone = fits.run(mortal, fits.grid(place=range(FITS), victim=[None]))
    here = searched(), decomposed()
    for mark in FOLDER.glob("began-*"):
        mark.unlink()
    with workers(ENGINE):
        each = joblib.Parallel()(joblib.delayed(fastreg.get_num_threads)() for _ in range(4))
        fits._remember = noted
        settings = fits.grid(place=range(FITS), victim=[victim])
        together = fits.run(mortal, settings, cache=FOLDER / "cache")
        fits._remember = remember
        there = searched(), decomposed()
    assert without_times(alone) == without_times(together), "other bits"
    assert {one["threads"] for one in together} == {1}
    for one, other in zip(here[0], there[0], strict=True):
        np.testing.assert_array_equal(one, other)
    assert str(here[1]) == str(there[1])
    assert max(each) * 2 <= max(2, os.cpu_count()), f"{each} threads in each of 2 workers"
    died = float((FOLDER / "died").read_text())
    runs = {n: len((FOLDER / f"began-{n}").read_text().split()) for n in range(FITS)}
    before = [n for n, moment in arrived.items() if moment < died]
    assert before, "outcomes come one by one, not at the end"
    again = sum(runs[n] - 1 for n in before)  # Dask does that for what it has just handed over
    assert again <= (FITS // 4 if ENGINE == "dask" else 0), "what had arrived was trained again"
    assert runs[victim] >= 2 and len(list((FOLDER / "cache").iterdir())) == FITS
    print("whole")


if __name__ == "__main__":
    main()
