"""Inside scikit-learn's tools, in files, and in other processes."""

import copy
import io
import os
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import BaggingClassifier, StackingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingRandomSearchCV,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastreg.checkpoint
from fastreg.callbacks import Checkpoint, LiveDiagnosis
from fastreg.sklearn import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:A worker stopped while some jobs"),
]
X, Y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)


def small(**more):
    how = {"hidden_layer_sizes": (10,), "max_iter": 60, "learning_rate_init": 0.02}
    return MLPClassifier(**(how | {"random_state": 0} | more))


# --- tools ---------------------------------------------------------------------------------


def test_pipelines_and_searches():
    pipe = make_pipeline(StandardScaler(), small())
    grid = {"mlpclassifier__dropout": [0.0, 0.2], "mlpclassifier__optimizer": [
        None, "adamw", fastreg.RMSprop(0.01)]}  # fmt: skip
    found = GridSearchCV(pipe, grid, cv=3, error_score="raise").fit(X, Y)
    assert found.best_score_ > 0.9
    assert len(found.cv_results_["params"]) == 6
    halving = HalvingRandomSearchCV(
        small(), {"alpha": [1e-4, 1e-2, 1.0], "norm": [None, "batch"]}, cv=3, random_state=0,
        resource="max_iter", max_resources=60, min_resources=10, error_score="raise",
    ).fit(X, Y)  # fmt: skip
    assert halving.best_score_ > 0.8


def test_ensembles_and_calibration():
    for model in (
        CalibratedClassifierCV(small(), cv=3),
        BaggingClassifier(small(), n_estimators=3, random_state=0),
        StackingClassifier([("mlp", small()), ("line", LogisticRegression())], cv=3),
    ):
        assert model.fit(X, Y).score(X, Y) > 0.9
        assert model.predict_proba(X).shape == (150, 3)


def test_inspection():
    model = small().fit(X, Y)
    found = permutation_importance(model, X, Y, n_repeats=3, random_state=0)
    assert found.importances_mean[2:].max() > 0.1
    number = MLPRegressor(hidden_layer_sizes=(10,), random_state=0).fit(X, X[:, 0])
    curve = partial_dependence(number, X, [0], kind="average")["average"][0]
    assert curve[-1] > curve[0]


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_same_seeds_give_the_same_numbers_in_any_process(jobs):
    model = small(dropout=0.2, norm="batch", early_stopping=True)
    scores = cross_validate(model, X, Y, cv=4, n_jobs=jobs, return_train_score=True)
    again = cross_validate(model, X, Y, cv=4, return_train_score=True)
    np.testing.assert_array_equal(scores["test_score"], again["test_score"])
    np.testing.assert_array_equal(scores["train_score"], again["train_score"])


def threads(_):
    return fastreg.get_num_threads()


def test_processes_share_the_cores():
    found = joblib.Parallel(n_jobs=2, backend="loky")(joblib.delayed(threads)(k) for k in range(2))
    assert max(found) <= max(1, (os.cpu_count() or 1) // 2)


def test_threads_predict_with_one_model():
    model = small().fit(X, Y)
    expected = model.predict_proba(X)
    work = [joblib.delayed(model.predict_proba)(X[k:]) for k in range(40)]
    for k, found in enumerate(joblib.Parallel(n_jobs=4, backend="threading")(work)):
        np.testing.assert_array_equal(found, expected[k:])


def test_metadata_are_routed():
    weights = np.random.default_rng(0).uniform(0.5, 2, 150)
    with sklearn.config_context(enable_metadata_routing=True):
        model = small().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipe = make_pipeline(scaler, model)
        found = pipe.fit(X, Y, sample_weight=weights)
        how = {"params": {"sample_weight": weights}}
        assert cross_val_score(pipe, X, Y, cv=3, **how).mean() > 0.8
        request = small().set_fit_request(X_val=True, y_val=True).get_metadata_routing()
        assert request.fit.requests["X_val"] is True
    X_std = StandardScaler().fit_transform(X)
    plain = small().fit(X_std, Y, sample_weight=weights)
    np.testing.assert_array_equal(found[-1].coefs_[0], plain.coefs_[0])


def test_clones_have_the_parameters_and_nothing_else():
    rule = fastreg.Adam(0.01)
    model = small(optimizer=rule, schedule=fastreg.schedule.cosine(0.1, 50), dropout=[0.1])
    other = clone(model.fit(X, Y))
    assert not hasattr(other, "coefs_")
    assert other.optimizer is not rule
    assert repr(other.get_params()).replace(repr(other.optimizer), repr(rule)) == repr(
        model.get_params()
    )
    again = other.fit(X, Y)
    np.testing.assert_array_equal(again.coefs_[0], model.coefs_[0])


def test_html_shows_the_parameters_that_differ():
    text = small(dropout=0.25)._repr_html_()
    assert "MLPClassifier" in text and "0.25" in text
    assert repr(MLPClassifier(dropout=0.25)) == "MLPClassifier(dropout=0.25)"


# --- files ---------------------------------------------------------------------------------

KINDS = [{}, {"norm": "batch"}, {"norm": "layer", "dropout": 0.2}, {"solver": "lbfgs"},
         {"optimizer": "adamw", "ema_decay": 0.9}, {"early_stopping": True},
         {"solver": "sgd", "max_norm": 2.0}]  # fmt: skip

GOING_ON = [{}, {"dropout": 0.3, "norm": "batch"}, {"solver": "sgd"}, {"ema_decay": 0.9},
            {"optimizer": "nadam"}]  # fmt: skip


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_a_file_holds_the_weights_and_little_else(settings):
    data, labels = load_digits(return_X_y=True)
    model = MLPClassifier((100,), max_iter=200, tol=0, n_iter_no_change=300, random_state=0)
    if settings.get("solver") != "lbfgs":
        model.set_params(batch_size=1000)
    model.set_params(**settings).fit(data, labels)
    model.predict(data)
    kept = sum(array.nbytes for array in model.coefs_ + model.intercepts_)
    kept += sum(4 * 8 * 100 for _ in model._norms)  # gamma, beta and two running statistics
    for text in (pickle.dumps(model), pickle.dumps(copy.deepcopy(model))):
        assert len(text) <= 1.1 * kept
    other = pickle.loads(text)
    np.testing.assert_array_equal(other.predict_proba(data), model.predict_proba(data))
    file = io.BytesIO()
    joblib.dump(model, file)
    assert file.tell() <= 1.1 * kept


@pytest.mark.parametrize("settings", GOING_ON, ids=str)
def test_partial_fits_go_on_from_a_file(settings):
    model = small(**settings)
    for _ in range(3):
        model.partial_fit(X, Y, classes=[0, 1, 2])
    other = pickle.loads(pickle.dumps(model))
    for one in (model, other):
        one.predict(X)
        one.partial_fit(X[::-1], Y[::-1]).partial_fit(X, Y)
    np.testing.assert_array_equal(model.predict_proba(X), other.predict_proba(X))


@pytest.mark.parametrize("settings", [{}, {"dropout": 0.3, "norm": "batch"}], ids=str)
def test_partial_fit_goes_on_after_fit(settings):
    exact = np.round(X * 4)  # trained in float32
    model = small(max_iter=5, **settings).fit(exact, Y)
    steps = model._optimizer.optimizer.t
    before = model.coefs_[0].copy()
    model.partial_fit(exact, Y)
    assert model._optimizer.optimizer.t == steps + 1
    assert model.t_ == 6 * 150
    assert 0 < np.abs(model.coefs_[0] - before).max() < 0.1
    assert model.coefs_[0].dtype == np.float64


@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_memory_maps_of_a_file_predict_and_train(tmp_path, norm):
    model = small(norm=norm, warm_start=True).fit(X, Y)
    joblib.dump(model, tmp_path / "model")
    for more in ("fit", "partial_fit"):
        other = joblib.load(tmp_path / "model", mmap_mode="r")
        assert not other.coefs_[0].flags.writeable
        np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
        assert getattr(other, more)(X, Y).score(X, Y) > 0.8


def test_the_callbacks_of_the_trainer_work_here(tmp_path):
    told = []
    watch = LiveDiagnosis(every=2, report=told.append)
    model = small(callbacks=[Checkpoint(tmp_path / "run"), watch], scoring="loss", max_iter=6)
    model.fit(X, Y, X_val=X, y_val=Y)
    assert len(told) == 3
    state = fastreg.checkpoint.load(tmp_path / "run")
    assert state["epoch"] == 6
    np.testing.assert_array_equal(state["model"]["0.W"], model.coefs_[0])


def test_warm_starts_go_on_from_the_weights():
    model = small(warm_start=True, max_iter=5).fit(X, Y)
    first = model.loss_
    assert model.fit(X, Y).loss_ < first
    assert len(model.loss_curve_) == 10
    assert model.set_params(early_stopping=True).fit(X, Y).best_loss_ is None
    assert model.set_params(early_stopping=False).fit(X, Y).best_loss_ > 0


def test_weights_that_are_assigned_are_used():
    model = small().fit(X, Y)
    model.coefs_ = [np.zeros_like(W) for W in model.coefs_]
    model.intercepts_ = [np.zeros_like(b) for b in model.intercepts_]
    np.testing.assert_allclose(model.predict_proba(X), 1 / 3)


def test_the_global_state_of_numpy_is_left_alone():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    small(dropout=0.2, norm="batch").fit(X, Y).predict(X)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_scikit_learn_is_imported_by_nobody_else():
    code = "import sys, fastreg.nn, fastreg.train; assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
