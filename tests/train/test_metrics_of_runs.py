"""Metrics of a Trainer: what they are given, when, and what is watched."""

import functools
import math
import pickle

import numpy as np
import pytest
from runs import Adam, blobs, everything, fit, network, trainer
from test_resume import StopAt

from fastreg import checkpoint, metrics, schedule
from fastreg._train.measure import NAMED
from fastreg.checkpoint import CheckpointError
from fastreg.metrics import Metric
from fastreg.nn import binary_cross_entropy, mlp, mse, softmax_cross_entropy
from fastreg.plateau import ReduceOnPlateau
from fastreg.stopping import EarlyStopping
from fastreg.train import Trainer

OF_CLASSES = ["accuracy", "balanced_accuracy", "f1", "auc", "roc_auc", "log_loss"]
OF_NUMBERS = ["r2", "mae"]
PLAIN = {"loss", "val_loss", "accuracy", "val_accuracy"}


def binary(outputs, **options):
    """A run on two classes, with one output or two."""
    loss = softmax_cross_entropy if outputs == 2 else binary_cross_entropy
    return trainer(model=mlp([2, 8, outputs], rng=1), loss=loss, **options)


def two_classes(n=60, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    return (rng.normal(size=(n, 2)) + y[:, None]).astype(np.float32), y


def test_every_name_is_tested():
    assert {*OF_CLASSES, *OF_NUMBERS} == set(NAMED)


def test_metrics_of_validation_data_are_those_of_predictions():
    X_val, y_val = blobs(30, seed=6)
    run = trainer(metrics=OF_CLASSES)
    history = fit(run, epochs=3)
    labels, p = run.predict(X_val), run.predict_proba(X_val)
    assert history["val_accuracy"][-1] == metrics.accuracy(y_val, labels)
    assert history["val_balanced_accuracy"][-1] == metrics.balanced_accuracy(y_val, labels)
    assert history["val_f1"][-1] == metrics.f1(y_val, labels, average="macro")
    assert history["val_auc"][-1] == history["val_roc_auc"][-1] == metrics.auc(y_val, p)
    assert history["val_log_loss"][-1] == pytest.approx(history["val_loss"][-1], rel=1e-5)
    assert {len(column) for column in history.values()} == {3}


@pytest.mark.parametrize("outputs", [1, 2])
def test_of_two_classes_the_second_is_scored(outputs):
    X, y = two_classes()
    run = binary(outputs, metrics=["auc", "f1", "log_loss"])
    history = run.fit(X[:40], y[:40], X_val=X[40:], y_val=y[40:], epochs=2)
    p = run.predict_proba(X[40:])[:, 1]
    assert history["val_auc"][-1] == metrics.auc(y[40:], p)
    assert history["val_f1"][-1] == metrics.f1(y[40:], run.predict(X[40:]), average="binary")
    assert history["val_log_loss"][-1] == pytest.approx(history["val_loss"][-1], rel=1e-5)


def test_the_number_of_classes_is_the_networks():
    """Two of three classes in the validation data: the mean of their F1, not that of class 1."""
    X, y = blobs(60)
    some = y < 2
    run = trainer(metrics=["f1"])
    history = run.fit(X, y, X_val=X[some], y_val=y[some], epochs=4)
    assert history["val_f1"][-1] == metrics.f1(y[some], run.predict(X[some]), average="macro")


@pytest.mark.parametrize("k", [1, 2])
def test_metrics_of_numbers(k):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(50, 3)).astype(np.float32)
    y = X[:, :k] if k > 1 else X[:, 0]
    run = Trainer(mlp([3, 4, k], rng=0), mse, Adam(0.01), rng=0, metrics=OF_NUMBERS)
    history = run.fit(X, y, X_val=X, y_val=y, epochs=2)
    assert history["val_r2"][-1] == metrics.r2(y, run.predict(X))
    assert history["val_mae"][-1] == metrics.mae(y, run.predict(X))


def test_counts_are_judged_as_predicted():
    """Under a loss whose link is "log", predictions are exponentials of the outputs."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(50, 3)).astype(np.float32)
    y = rng.poisson(2.0, 50)
    run = Trainer(mlp([3, 4, 1], rng=0), "poisson", Adam(0.01), rng=0, metrics=OF_NUMBERS)
    history = run.fit(X, y, X_val=X, y_val=y, epochs=2)
    assert history["val_mae"][-1] == metrics.mae(y, run.predict(X))


def test_soft_targets_count_by_their_likeliest_class():
    X, y = blobs(60)
    soft = np.full((60, 3), 0.1)
    soft[np.arange(60), y] = 0.8
    run = trainer(metrics=["f1", "auc"])
    history = run.fit(X, soft, X_val=X, y_val=soft, epochs=2)
    assert history["val_f1"][-1] == metrics.f1(y, run.predict(X))


def test_ignored_labels_take_no_part():
    X, y = blobs(60)
    some = np.where(np.arange(60) % 4 == 1, -1, y)
    loss = functools.partial(softmax_cross_entropy, ignore_index=-1)
    run = trainer(loss=loss, metrics=["f1", "auc"], monitor="val_auc")
    history = run.fit(X, some, X_val=X, y_val=some, epochs=2)
    kept = some >= 0
    assert history["val_f1"][-1] == metrics.f1(y[kept], run.predict(X[kept]))


def test_several_labels_per_row():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(50, 3)).astype(np.float32)
    y = (X > 0).astype(np.float64)
    run = Trainer(mlp([3, 4, 3], rng=0), binary_cross_entropy, Adam(0.01), rng=0,
                  metrics=["auc", "f1", "log_loss"])  # fmt: skip
    history = run.fit(X, y, X_val=X, y_val=y, epochs=2)
    assert history["val_auc"][-1] == metrics.auc(y.astype(int), run.predict_proba(X))
    assert history["val_f1"][-1] == metrics.f1(y.astype(int), run.predict(X))
    with pytest.raises(ValueError, match="'balanced_accuracy' fails on y: balanced_accuracy: y"):
        Trainer(run.model, run.loss, Adam(), metrics=["balanced_accuracy"]).fit(X, y, epochs=1)


class Recorder:
    """A metric that keeps what it was given."""

    __name__ = "recorder"

    def __init__(self):
        self.calls = []

    def __call__(self, y_true, y_pred, sample_weight=None):
        self.calls.append((y_true, y_pred, sample_weight))
        return 0.5


def test_training_metrics_see_the_epochs_own_batches():
    """With a rate of 0 and without dropout, batches have the outputs of the network as it is."""
    seen = Recorder()
    X, y = blobs(50)
    w = np.arange(50.0) + 1
    model = network(batch_norm=False, dropout=0.0)
    run = trainer(model=model, optimizer=Adam(0.0), metrics=[Metric(seen, needs="logits")])
    run.fit(X, y, sample_weight=w, epochs=1, batch_size=16)
    (_, _, tried), (y_true, outputs, weights) = seen.calls
    np.testing.assert_array_equal(tried, np.ones(50))
    order = np.argsort(weights)
    np.testing.assert_array_equal(weights[order], w)
    np.testing.assert_array_equal(y_true[order], y)
    np.testing.assert_allclose(outputs[order], model.forward(X), rtol=1e-6)


def test_evaluated_training_metrics_are_those_of_the_epochs_end():
    X, y = blobs(50)
    run = trainer(metrics=["auc", "f1"])
    history = run.fit(X, y, epochs=2, evaluate_training=True)
    assert history["auc"][-1] == metrics.auc(y, run.predict_proba(X))
    assert history["f1"][-1] == metrics.f1(y, run.predict(X), average="macro")
    assert not any(name.startswith("val_") for name in history)


def test_metrics_change_nothing_else():
    plain, rich = trainer(), trainer(metrics=["auc", "f1"], monitor="val_loss")
    fit(plain), fit(rich)
    before, after = everything(plain), everything(rich)
    assert before[0] == after[0]
    assert before[2:] == after[2:]
    assert all(after[1][name] == column for name, column in before[1].items())
    assert "accuracy" in before[1]
    assert fit(trainer(metrics=["accuracy"]), epochs=1).keys() == fit(trainer(), epochs=1).keys()


def test_outputs_that_are_not_finite_have_no_metric():
    X, y = blobs(30)
    model = network(batch_norm=False)
    run = trainer(model=model, loss=lambda z, t: (0.0, np.zeros_like(z)), optimizer=Adam(0.0),
                  metrics=[Metric(np.vdot, "dot", needs="logits")])  # fmt: skip
    model.layers[0].W[:] = np.inf
    with np.errstate(all="ignore"):
        history = run.fit(X, y, epochs=1)
    assert math.isnan(history["dot"][0])


# --- functions and scorers of scikit-learn's ------------------------------------------------


def test_functions_of_scikit_learn_work_as_they_are():
    theirs = pytest.importorskip("sklearn.metrics")
    X, y = two_classes()
    functions = [
        theirs.roc_auc_score, theirs.log_loss, theirs.average_precision_score,
        theirs.brier_score_loss, theirs.f1_score, theirs.matthews_corrcoef, theirs.hamming_loss,
        theirs.hinge_loss,
        functools.partial(theirs.fbeta_score, beta=2.0),
    ]  # fmt: skip
    run = binary(1, metrics=functions)
    history = run.fit(X[:40], y[:40], X_val=X[40:], y_val=y[40:], epochs=2)
    y, labels, p = y[40:], run.predict(X[40:]), run.predict_proba(X[40:])[:, 1]
    outputs = run.model.forward(X[40:])[:, 0]
    given = {"roc_auc_score": p, "log_loss": p, "average_precision_score": p,
             "brier_score_loss": p, "hinge_loss": outputs}  # fmt: skip
    for function in functions[:-1]:
        name = function.__name__
        expected = function(y, given.get(name, labels))
        assert history[f"val_{name}"][-1] == pytest.approx(expected, rel=1e-6), name
    assert history["val_fbeta_score"][-1] == theirs.fbeta_score(y, labels, beta=2.0)
    modes = run.recorded
    assert (modes["roc_auc_score"], modes["val_log_loss"], modes["hinge_loss"]) == (
        "max", "min", "min",
    )  # fmt: skip
    assert modes["matthews_corrcoef"] is None


def test_scorers_of_scikit_learn_work_as_they_are():
    theirs = pytest.importorskip("sklearn.metrics")
    X, y = blobs(60)
    names = ["neg_log_loss", "f1_macro", "roc_auc_ovr", "accuracy"]
    run = trainer(metrics=[theirs.get_scorer(name) for name in names])
    history = run.fit(X, y, X_val=X, y_val=y, epochs=2, sample_weight=np.ones(60))
    p = run.predict_proba(X)
    assert history["val_neg_log_loss"][-1] == pytest.approx(-theirs.log_loss(y, p), rel=1e-6)
    assert history["val_f1_score"][-1] == metrics.f1(y, run.predict(X))
    assert history["val_roc_auc_score"][-1] == pytest.approx(metrics.auc(y, p), rel=1e-12)
    assert history["val_accuracy_score"][-1] == history["val_accuracy"][-1]
    assert {run.recorded[name] for name in ("neg_log_loss", "val_f1_score")} == {"max"}


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"metrics": "auc"}, TypeError, "metrics must be a sequence"),
        ({"metrics": ["auk"]}, ValueError, r"metrics\[0\] must be one of accuracy, .* got 'auk'"),
        ({"metrics": ["auc", 3]}, TypeError, r"metrics\[1\] must be a name, a function or"),
        ({"metrics": [Metric]}, TypeError, r"metrics\[0\] must be a name, a function or"),
        ({"metrics": [lambda y, p: 0]}, ValueError, r"metrics\[0\] must have a name"),
        ({"metrics": ["r2"]}, ValueError, "'r2', which is for numbers"),
        ({"metrics": [metrics.mae]}, ValueError, "'mae', which is for numbers"),
        ({"metrics": ["auc", "auc"]}, ValueError, "names that differ"),
        ({"metrics": [Metric(metrics.f1, "loss")]}, ValueError, "names that differ"),
        ({"metrics": [Metric(metrics.f1, "val_f1")]}, ValueError, "names that differ"),
        ({"metrics": [Metric(metrics.f1, "accuracy")]}, ValueError, "names that differ"),
        ({"monitor": "val_auc"}, ValueError, "monitor must be one of loss, accuracy, val_loss"),
        ({"monitor": 3}, TypeError, "monitor must be one of"),
        ({"mode": "max"}, ValueError, "mode must come with a monitor"),
        ({"monitor": "loss", "mode": "up"}, ValueError, "mode must be one of"),
        ({"metrics": [Metric(metrics.f1, "x")], "monitor": "x"}, ValueError, "which is better"),
    ],
)
def test_what_cannot_be_recorded_or_watched_is_refused_at_once(options, error, message):
    with pytest.raises(error, match=message):
        trainer(**options)


def test_losses_of_numbers_have_no_metrics_of_classes():
    for name in ("f1", "auc", Metric(max, "own", needs="probabilities")):
        with pytest.raises(ValueError, match="metrics.0. must fit the loss"):
            trainer(loss=mse, metrics=[name])


@pytest.mark.parametrize(
    ("options", "data", "message"),
    [
        ({"monitor": "val_loss"}, {}, "got 'val_loss' without X_val and y_val"),
        ({"metrics": ["auc"], "monitor": "auc"}, {"y": np.zeros(30, int)}, "is there only one"),
        ({"metrics": [Metric(np.equal, "n")]}, {}, "'n' must return a number, got ndarray"),
        ({"metrics": [Metric(np.linalg.inv, "n")]}, {}, "'n' fails on y"),
    ],
)
def test_what_fails_on_the_data_is_refused_before_the_first_step(options, data, message):
    X, y = blobs(30)
    run = trainer(**options)
    with pytest.raises((TypeError, ValueError), match=message):
        run.fit(X, data.get("y", y), epochs=1)
    assert run.step == 0
    assert run.history == {}


# --- what is watched ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("monitor", "column"),
    [("val_auc", "val_auc"), ("train_loss", "loss"), ("auc", "auc"), ("val_loss", "val_loss"),
     (None, "val_loss")],
)  # fmt: skip
def test_early_stopping_and_plateaus_watch_what_the_monitor_names(monitor, column):
    stopping = EarlyStopping(patience=100)
    plateau = ReduceOnPlateau(0.02, factor=0.5, patience=1)
    run = trainer(metrics=["auc"], monitor=monitor, early_stopping=stopping,
                  schedule=schedule.warmup(plateau, 3))  # fmt: skip
    history = fit(run)
    mode = "max" if "auc" in column else "min"
    assert stopping.history == history[column]
    assert stopping.mode == plateau.mode == mode
    best = getattr(np, f"arg{mode}")(history[column])
    assert history.best_epoch() == best
    assert plateau.best_loss == getattr(np, mode)(history[column]) or monitor is not None


def test_the_best_weights_are_those_of_the_monitor():
    stopping = EarlyStopping(patience=3, min_delta=0.0, verbose=False)
    run = trainer(metrics=["auc"], monitor="val_auc", early_stopping=stopping)
    history = fit(run, epochs=30)
    X_val, y_val = blobs(30, seed=6)
    assert metrics.auc(y_val, run.predict_proba(X_val)) == max(history["val_auc"])
    assert run.stop_reason == "patience"


def test_a_mode_given_outright_is_obeyed():
    stopping = EarlyStopping(patience=100)
    run = trainer(metrics=["auc"], monitor="val_auc", mode="min", early_stopping=stopping)
    history = fit(run)
    assert stopping.best_loss == min(history["val_auc"])


# --- saved runs -----------------------------------------------------------------------------


def rich(**options):
    return trainer(
        metrics=["auc", "f1"], monitor="val_auc", early_stopping=EarlyStopping(50), **options
    )


@pytest.mark.parametrize("step", [1, 3, 5, 6, 12])
def test_a_resumed_run_has_the_same_metrics(step, tmp_path):
    whole = rich()
    fit(whole, epochs=4)
    first = rich(callbacks=[StopAt(step, tmp_path / "run.ckpt")])
    fit(first, epochs=4)
    second = rich(model=network(seed=9), rng=10)
    history = fit(second, epochs=4, resume_from=tmp_path / "run.ckpt")
    assert everything(second) == everything(whole)
    assert type(history) is type(whole.history)
    assert (history.monitor, history.mode) == ("val_auc", "max")


def test_a_run_with_other_metrics_or_another_monitor_is_refused(tmp_path):
    path = tmp_path / "run.ckpt"
    run = rich()
    fit(run, epochs=1)
    run.save(path)
    others = [
        {"metrics": ["auc"], "monitor": "val_auc"},
        {"metrics": ["auc", "f1"], "monitor": "val_f1"},
        {"metrics": ["auc", "f1"]},
    ]
    for options in others:
        other = trainer(early_stopping=EarlyStopping(50), **options)
        with pytest.raises(CheckpointError, match="f1|monitor"):
            other.load(path)
    state = checkpoint.load(path)
    assert state["settings"]["monitor"] == "val_auc"


def test_a_seen_batch_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "run.ckpt"
    run = rich(callbacks=[StopAt(2, path)])
    fit(run, epochs=1)
    state = checkpoint.load(path)
    assert len(state["cursor"]["so_far"]["seen"]) == 2
    for spoiled in ([3], [[1.0, 2.0, None]], 5):
        state["cursor"]["so_far"]["seen"] = spoiled
        checkpoint.save(path, state)
        with pytest.raises(CheckpointError, match="must hold outputs and targets"):
            rich().load(path)


@pytest.mark.parametrize("validated", [True, False])
def test_a_metric_that_refuses_weights_is_refused_before_the_first_step(validated):
    def picky(y_true, y_pred, sample_weight=None):
        if sample_weight is not None:
            raise ValueError("no weights, please")
        return 0.5

    run = trainer(metrics=[picky])
    X, y = blobs(30)
    validation = {"X_val": X, "y_val": y} if validated else {}
    with pytest.raises(ValueError, match="'picky' fails on .*: no weights, please"):
        run.fit(X, y, epochs=1, sample_weight=np.ones(30), **validation)
    assert run.step == 0


def test_a_callable_that_cannot_be_hashed_is_a_metric():
    class Share:
        __hash__ = None

        def __call__(self, y_true, y_pred):
            return 0.5

    assert trainer(metrics=[Share()]).metrics[0].name == "Share"


def test_a_run_with_metrics_can_be_pickled():
    run = trainer(metrics=["auc", metrics.f1], monitor="auc")
    fit(run, epochs=1)
    assert pickle.loads(pickle.dumps(run.history)) == run.history
