"""The lab's runner: the same numbers from any number of processes, and nothing run twice."""

import json
import math
import os
import time

import numpy as np
import pytest

for package in ("jinja2", "joblib", "matplotlib", "sklearn", "tqdm"):
    pytest.importorskip(package, reason="needs the extra 'lab'")

import joblib  # noqa: E402
from scipy.stats import ttest_rel  # noqa: E402

import fastreg  # noqa: E402
from fastreg.lab import dropout_rate, fits  # noqa: E402
from fastreg.lab.statistics import mean_interval, paired_difference  # noqa: E402

TINY = {"data": "wine", "label_noise": 0.2, "epochs": 2}


def tiny(rates=(0.0, 0.5)):
    return [{**TINY, "rate": rate, "seed": seed} for rate in rates for seed in (0, 1)]


def without_times(outcomes):
    return [{key: value for key, value in o.items() if key != "seconds"} for o in outcomes]


calls = []


def counted(number, fail_at=None):
    """A fit that leaves a trace and may be interrupted."""
    if number == fail_at:
        raise KeyboardInterrupt
    calls.append(number)
    return {"square": number**2, "nothing": math.nan}


def in_other_order(place):
    """A fit that takes the longer the earlier it comes."""
    time.sleep(0.3 if place == 0 else 0.0)
    return {"pid": os.getpid(), "threads": fastreg.get_num_threads()}


@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"])
def test_two_processes_give_the_bits_of_one(backend):
    alone = fits.run(dropout_rate.fit, tiny())
    with joblib.parallel_config(backend, n_jobs=2):
        together = fits.run(dropout_rate.fit, tiny())
    assert without_times(alone) == without_times(together)
    assert len({json.dumps(one) for one in without_times(alone)}) == 4


def test_jobs_are_processes_of_one_thread_and_outcomes_keep_their_order():
    outcomes = fits.run(in_other_order, [{"place": i} for i in range(6)], jobs=2)
    assert [one["place"] for one in outcomes] == list(range(6))
    assert len({one["pid"] for one in outcomes} | {os.getpid()}) == 3
    assert {one["threads"] for one in outcomes} == {1}


def test_outcomes_are_remembered(tmp_path):
    calls.clear()
    first = fits.run(counted, fits.grid(number=[1, 2]), cache=tmp_path)
    again = fits.run(counted, fits.grid(number=[2, 1, 3]), cache=tmp_path)
    assert calls == [1, 2, 3]
    assert [one["square"] for one in again] == [4, 1, 9]
    assert math.isnan(first[0]["nothing"]) and math.isnan(again[0]["nothing"])
    fits.run(counted, fits.grid(number=[1]))  # no folder, no memory
    assert calls == [1, 2, 3, 1]


def test_an_interrupted_run_goes_on_where_it_was(tmp_path):
    calls.clear()
    settings = [{"number": n, "fail_at": 3} for n in range(5)]
    with pytest.raises(KeyboardInterrupt):
        fits.run(counted, settings, cache=tmp_path)
    before = list(calls)
    assert 0 < len(before) < 5 and 3 not in before
    for one in settings:
        one["fail_at"] = 3 if one["number"] != 3 else None
    fits.run(counted, settings, cache=tmp_path)
    assert calls[: len(before)] == before and sorted(calls) == [0, 1, 2, 3, 4]


def test_what_is_remembered_depends_on_version_settings_and_file(tmp_path, monkeypatch):
    path = tmp_path / "data.csv"

    def place(**settings):
        return fits._path(tmp_path, "x", counted, settings)

    path.write_text("1,2\n")
    places = [place(number=1), place(number=2), place(data=str(path))]
    path.write_text("1,3\n")
    places.append(place(data=str(path)))
    monkeypatch.setattr(fastreg, "__version__", "next")
    places.append(place(number=1))
    assert len(set(places)) == 5


def test_a_damaged_memory_is_run_again(tmp_path):
    calls.clear()
    fits.run(counted, fits.grid(number=[1]), cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text()[:-3])
    assert fits.run(counted, fits.grid(number=[1]), cache=tmp_path)[0]["square"] == 1
    assert calls == [1, 1]
    assert json.loads(file.read_text())["square"] == 1


def test_values_have_the_seed_last():
    outcomes = fits.Outcomes(
        {"rate": rate, "seed": seed, "end": seed, "curve": [rate, 10 * seed]}
        for rate in (0, 1) for seed in (0, 1, 2)
    )  # fmt: skip
    assert outcomes.values("end", rate=1).tolist() == [0, 1, 2]
    assert outcomes.values("curve", rate=1).tolist() == [[1, 1, 1], [0, 10, 20]]
    assert not outcomes.where(other=1)


def test_one_seed_is_refused():
    with pytest.raises(ValueError, match="seeds must be at least 2, got 1"):
        dropout_rate.run(seeds=1)


def test_intervals_are_those_of_the_t_test():
    a, b = np.random.default_rng(0).normal(size=(2, 7))
    expected = ttest_rel(a, b).confidence_interval(0.95)
    assert paired_difference(a, b)[:] == pytest.approx(
        (np.mean(expected), (expected.high - expected.low) / 2)
    )
    assert math.isnan(mean_interval([1.0]).half)
    shifted = paired_difference(a + 5, a)
    assert shifted.excludes_zero and shifted.half == pytest.approx(0, abs=1e-12)
    assert not paired_difference(a, a).excludes_zero
    assert mean_interval([0.5, 0.7]).percent(0) == "60 ± 127"


def test_a_run_that_diverges_is_an_outcome():
    from fastreg import SGD
    from fastreg.lab.data import load
    from fastreg.nn import mlp
    from fastreg.train import Trainer

    problem = load("wine")
    model = mlp([problem.n_in, 8, 3], rng=0)
    trainer = Trainer(model, problem.loss, SGD(1e6), rng=0)
    outcome = fits.train(trainer, problem, epochs=4)
    assert outcome["diverged"] and len(outcome["loss"]) == len(outcome["val_score"]) == 4
    assert outcome["loss"][-1] == outcome["test_loss"] == math.inf
    assert outcome["val_score"][-1] == outcome["test_score"] == 0.0


def test_what_is_remembered_depends_on_the_code_that_a_fit_reaches(tmp_path, monkeypatch):
    package = tmp_path / "fastreg"
    (package / "lab").mkdir(parents=True)
    monkeypatch.setattr(fastreg, "__file__", str(package / "__init__.py"))
    places = set()
    for count, name in enumerate(("norm.py", "_kernels.so", "lab/data.py", "lab/fits.py"), start=1):
        (package / name).write_text("changed")
        fits._code.cache_clear()
        places.add(fits._path(tmp_path, "x", counted, {"number": 1}))
        assert len(places) == count
    (package / "lab" / "plots.py").write_text("a figure is no reason to train again")
    fits._code.cache_clear()
    assert fits._path(tmp_path, "x", counted, {"number": 1}) in places
    fits._code.cache_clear()


def test_a_file_may_be_given_as_a_path(tmp_path):
    path = tmp_path / "rows.csv"
    rows = np.random.default_rng(0).normal(size=(60, 3))
    np.savetxt(path, rows, delimiter=",", header="a,b,c", comments="")
    result = dropout_rate.run(path, seeds=2, rates=(0.0, 0.5), epochs=1, cache=tmp_path / "cache")
    assert json.loads(result.to_json())["outcomes"][0]["data"] == str(path)


@pytest.mark.parametrize("candidates", [2, 4, 7])
def test_the_best_of_equals_is_seldom_surely_better(candidates):
    rng, alarms, rounds = np.random.default_rng(1), 0, 1500
    for _ in range(rounds):
        losses = sorted(rng.normal(size=(candidates, 5)), key=np.mean)
        alarms += any(
            paired_difference(one, losses[0], among=candidates).excludes_zero for one in losses[1:]
        )
    assert 0.01 < alarms / rounds < 0.065


def slow_first(place):
    """A fit that is long for the first tenth of the settings."""
    time.sleep(0.2 if place < 4 else 0.02)
    return {"place": place}


def test_an_early_estimate_is_about_right(monkeypatch):
    """The settings have the long fits first, and nothing but the fits' own times counts."""
    rates = []

    class Bar(fits.Bar):
        def count(self, seconds):
            super().count(seconds)
            rates.append(self.format_dict["rate"])

    monkeypatch.setattr(fits, "Bar", Bar)
    fits.run(slow_first, [{"place": i} for i in range(40)], jobs=1)
    whole = 4 * 0.2 + 36 * 0.02
    assert len(rates) == 40
    assert all(0.2 * whole < 40 / rate < 4 * whole for rate in rates[2:])
