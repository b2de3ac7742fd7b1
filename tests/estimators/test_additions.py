"""What scikit-learn's perceptrons lack: every addition does what it says."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.utils._param_validation import InvalidParameterError

import fastreg
from fastreg import optim, schedule
from fastreg.callbacks import Callback
from fastreg.sklearn import MLPClassifier, MLPRegressor
from fastreg.sklearn.steps import OPTIMIZERS, SCHEDULES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
IRIS = load_iris(return_X_y=True)


def fitted(X=IRIS[0], y=IRIS[1], *, kind=MLPClassifier, fit=None, **settings):
    how = {"hidden_layer_sizes": (12,), "random_state": 0, "max_iter": 20, "tol": 0.0}
    return kind(**(how | settings)).fit(X, y, **(fit or {}))


def same(a, b):
    pairs = zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


NOISY = [{"dropout": 0.2}, {"dropout": [0.3, 0.0]}, {"input_dropout": 0.1}]
NORMED = [{"norm": "batch"}, {"norm": "layer"}]

# --- dropout and normalisation -------------------------------------------------------------


@pytest.mark.parametrize("settings", NOISY + NORMED, ids=str)
def test_they_change_training_and_repeat_by_the_seed(settings):
    plain = fitted(hidden_layer_sizes=(12, 8))
    one, two = (fitted(hidden_layer_sizes=(12, 8), **settings) for _ in range(2))
    assert same(one, two)
    assert not same(one, plain)
    np.testing.assert_array_equal(one.predict_proba(IRIS[0]), two.predict_proba(IRIS[0]))
    np.testing.assert_array_equal(one.predict_proba(IRIS[0]), one.predict_proba(IRIS[0]))
    assert fitted(hidden_layer_sizes=(12, 8), max_iter=150, learning_rate_init=0.01,
                  **settings).score(*IRIS) > 0.9  # fmt: skip


def test_scores_between_epochs_leave_later_ones_their_dropout():
    settings = {"dropout": 0.3, "batch_size": 30, "early_stopping": True, "n_iter_no_change": 20}
    assert same(fitted(**settings), fitted(callbacks=[Callback()], **settings))


def test_no_rates_are_the_network_without_dropout():
    assert same(fitted(), fitted(dropout=0.0, input_dropout=0.0))
    assert same(fitted(), fitted(dropout=[0.0]))


def test_batch_norm_takes_a_last_row_into_the_batch_before():
    X, y = IRIS[0][:101], IRIS[1][:101]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert np.isfinite(fitted(X, y, norm="batch", batch_size=20).loss_curve_).all()


def test_norms_predict_with_running_statistics():
    model = fitted(norm="batch", max_iter=100)
    one_by_one = np.concatenate([model.predict_proba(row[None]) for row in IRIS[0]])
    np.testing.assert_allclose(model.predict_proba(IRIS[0]), one_by_one, rtol=1e-12)
    assert not any(model.intercepts_[0]), "the norm's shift takes their place"


# --- optimizers and schedules --------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_by_name_and_as_objects_do_the_same(name):
    rate = {"learning_rate_init": 0.02}
    named = fitted(optimizer=name, alpha=0.0, **rate)
    how = {"nesterov": True} if name == "momentum" else {}
    kind = OPTIMIZERS[name]
    if name in ("adam", "adamw", "nadam", "radam", "adamax"):
        how = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
    rule = kind(0.02, exclude=optim.BIASES_AND_SCALES, **how)
    given = fitted(optimizer=rule, alpha=0.0, **rate)
    assert same(named, given)
    assert rule.t == 0, "each training takes a copy"
    assert not same(named, fitted(alpha=0.0, **rate))


def test_the_penalty_reaches_an_optimizer_given_as_an_object():
    named = fitted(optimizer="rmsprop", alpha=5.0)
    given = fitted(optimizer=fastreg.RMSprop(0.001), alpha=5.0)
    for a, b in zip(named.coefs_, given.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(named.loss_curve_, given.loss_curve_)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_by_name_span_the_run(name):
    rates = []

    class Note(Callback):
        def on_train_batch_end(self, batch, logs=None):
            rates.append(self.trainer.optimizer.lr)

    fitted(schedule=name, learning_rate_init=0.01, batch_size=30, callbacks=[Note()])
    assert len(rates) == 20 * 5
    assert max(rates) == pytest.approx(0.01, rel=0.05)
    if name not in ("constant", "warmup"):
        assert rates[-1] < 0.25 * max(rates) or name == "warm_restarts"
    for total in (1, 2, 7):  # however short
        assert np.isfinite([SCHEDULES[name](0.1, total)(t) for t in range(total)]).all()


def test_a_schedule_may_be_any_function_of_the_step():
    constant = fitted(schedule=lambda step: 0.005)
    assert same(constant, fitted(learning_rate_init=0.005))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        fitted(schedule=schedule.cosine(0.01, 20), n_iter_no_change=50)


def test_a_plateau_schedule_is_told_the_loss():
    plateau = fastreg.ReduceOnPlateau(0.1, patience=0, factor=0.5)
    model = fitted(schedule=plateau, max_iter=60, n_iter_no_change=100)
    assert model._optimizer.learning_rate < 0.1
    assert plateau(0) == 0.1, "each training takes a copy"


# --- penalties and constraints -------------------------------------------------------------


def test_decay_and_l1_and_constraints():
    assert np.abs(fitted(weight_decay=20.0).coefs_[0]).sum() < (
        0.9 * np.abs(fitted().coefs_[0]).sum()
    )
    assert (fitted(lambda_l1=0.05, max_iter=200).coefs_[0] == 0).mean() > 0.3
    long = fitted(max_norm=0.4, max_iter=50)
    norms = [np.linalg.norm(W, axis=0).max() for W in long.coefs_]
    assert max(norms) == pytest.approx(0.4, rel=1e-6)
    small = fitted(solver="sgd", clip_norm=1e-9, momentum=0.0, alpha=0.0)
    start = fitted(solver="sgd", learning_rate_init=1e-30)
    assert np.abs(small.coefs_[0] - start.coefs_[0]).max() < 1e-10


def test_label_smoothing_makes_unsure():
    sure, unsure = (fitted(label_smoothing=s, max_iter=300, learning_rate_init=0.02)
                    for s in (0.0, 0.3))  # fmt: skip
    tops = [np.median(model.predict_proba(IRIS[0]).max(axis=1)) for model in (sure, unsure)]
    assert tops[1] < 0.9 < tops[0]


@pytest.mark.parametrize("weights", [{0: 1.0, 1: 5.0, 2: 0.5}, "balanced"], ids=str)
def test_class_weights_are_sample_weights(weights):
    X, y = IRIS[0][20:], IRIS[1][20:]
    factors = {0: 130 / 90, 1: 130 / 150, 2: 130 / 150} if weights == "balanced" else weights
    by_sample = np.array([factors[label] for label in y])
    ours = fitted(X, y, class_weight=weights)
    theirs = fitted(X, y, fit={"sample_weight": by_sample})
    for a, b in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_samples_without_weight_are_not_there():
    keep = np.random.default_rng(0).random(150) < 0.7
    weighted = fitted(fit={"sample_weight": keep.astype(float)})
    assert same(weighted, fitted(IRIS[0][keep], IRIS[1][keep], fit={
        "sample_weight": np.ones(keep.sum())}))  # fmt: skip
    assert weighted.t_ == 20 * keep.sum()


# --- validation ----------------------------------------------------------------------------


def noisy():
    X, y = make_classification(400, 10, flip_y=0.3, random_state=0)
    return X[:200], y[:200], X[200:], y[200:]


def test_own_validation_data_are_scored_and_stop_training():
    X, y, X_val, y_val = noisy()
    how = {"learning_rate_init": 0.03, "max_iter": 100, "n_iter_no_change": 5}
    watched = fitted(X, y, fit={"X_val": X_val, "y_val": y_val}, **how)
    assert same(watched, fitted(X, y, **how)), "they are not trained on"
    assert watched.validation_scores_[-1] == watched.score(X_val, y_val)
    stopped = fitted(X, y, fit={"X_val": X_val, "y_val": y_val}, early_stopping=True, **how)
    assert stopped.n_iter_ < 100
    assert stopped.score(X_val, y_val) == max(stopped.validation_scores_)
    assert stopped.best_validation_score_ == max(stopped.validation_scores_)


@pytest.mark.parametrize("settings", [{}, {"norm": "batch"}, {"ema_decay": 0.9}], ids=str)
@pytest.mark.parametrize("scoring", [None, "loss", "balanced_accuracy", "neg_log_loss"])
def test_the_best_weights_are_restored_by_any_score(scoring, settings):
    X, y, X_val, y_val = noisy()
    model = fitted(X, y, early_stopping=True, scoring=scoring, max_iter=60, n_iter_no_change=10,
                   learning_rate_init=0.03, fit={"X_val": X_val, "y_val": y_val},
                   **settings)  # fmt: skip
    found = {
        None: lambda: model.score(X_val, y_val),
        "balanced_accuracy": lambda: balanced_accuracy_score(y_val, model.predict(X_val)),
    }.get(scoring, lambda: -log_loss(y_val, model.predict_proba(X_val)))()
    assert found == pytest.approx(max(model.validation_scores_), rel=1e-6)
    assert np.argmax(model.validation_scores_) < model.n_iter_ - 1, "it stopped later"


def test_a_scorer_may_be_a_function():
    seen = []

    def scorer(estimator, X, y):
        seen.append(type(y[0]))
        return estimator.score(X, y)

    X, y, X_val, y_val = noisy()
    words = np.array(["no", "yes"])
    fitted(X, words[y], scoring=scorer, early_stopping=True,
           fit={"X_val": X_val, "y_val": words[y_val]}, max_iter=3)  # fmt: skip
    assert seen == [np.str_] * 3


# --- averages and callbacks ----------------------------------------------------------------


def test_predictions_are_those_of_averages():
    raw, averaged = fitted(max_iter=5), fitted(max_iter=5, ema_decay=0.99)
    start = fitted(solver="sgd", learning_rate_init=1e-30)
    assert not same(raw, averaged)
    moved = [np.abs(model.coefs_[0] - start.coefs_[0]).sum() for model in (raw, averaged)]
    assert moved[1] < 0.3 * moved[0], "an average of few steps has not left the start"
    assert same(fitted(max_iter=5, ema_decay=0.0), raw)


def test_partial_fit_with_averages_trains_on():
    models = [MLPClassifier((5,), random_state=0, ema_decay=d) for d in (None, 0.0)]
    for model in models:
        for _ in range(4):
            model.partial_fit(*IRIS, classes=[0, 1, 2])
    assert same(*models)


def test_callbacks_are_told_and_may_stop():
    heard = []

    class Listen(Callback):
        def on_train_begin(self, logs=None):
            heard.append("begin")

        def on_epoch_end(self, epoch, logs=None):
            heard.append((epoch, logs["loss"]))
            self.trainer.stop_training = epoch == 2

        def on_train_end(self, logs=None):
            heard.append("end")

    listener = Listen()
    model = fitted(callbacks=[listener])
    assert heard == ["begin", *enumerate(model.loss_curve_), "end"]
    assert model.n_iter_ == 3
    assert listener.trainer is None, "it keeps nothing of the data"


def test_dtype_is_that_of_the_weights():
    X = IRIS[0]  # not exact in float32
    assert {W.dtype for W in fitted(X).coefs_} == {np.dtype("float64")}
    assert {W.dtype for W in fitted(X, dtype="float32").coefs_} == {np.dtype("float32")}
    assert {W.dtype for W in fitted(X.astype("f4"), dtype=np.float64).coefs_} == {
        np.dtype("float64")
    }
    pixels = np.round(X * 8)
    quick, exact = fitted(pixels), fitted(pixels, dtype="float64")
    assert quick.coefs_[0].dtype == exact.coefs_[0].dtype == np.float64
    assert not same(quick, exact), "trained in float32"
    np.testing.assert_allclose(quick.loss_curve_, exact.loss_curve_, rtol=1e-4)
    assert same(quick, fitted(pixels.astype("f4")))


# --- what is refused -----------------------------------------------------------------------

WRONG = [
    {"dropout": 1.0}, {"dropout": -0.1}, {"dropout": [0.1, 0.2]}, {"dropout": ["a"]},
    {"input_dropout": 1.0}, {"norm": "group"}, {"optimizer": "adma"}, {"optimizer": 3},
    {"schedule": "cosin"}, {"schedule": 0.1}, {"weight_decay": -1.0}, {"lambda_l1": -1.0},
    {"max_norm": 0.0}, {"clip_norm": 0.0}, {"label_smoothing": 1.5}, {"class_weight": "even"},
    {"scoring": "acuracy"}, {"ema_decay": 1.0}, {"callbacks": [1]}, {"callbacks": 1},
    {"dtype": "float16"}, {"alpha": -1}, {"solver": "adamw"}, {"hidden_layer_sizes": -1},
    {"solver": "lbfgs", "dropout": 0.1}, {"solver": "lbfgs", "optimizer": "adamw"},
    {"solver": "lbfgs", "ema_decay": 0.5}, {"solver": "lbfgs", "max_norm": 1.0},
    {"optimizer": fastreg.Adam(), "weight_decay": 0.1},
    {"optimizer": fastreg.Adam(), "clip_norm": 1.0},
]  # fmt: skip


@pytest.mark.parametrize("settings", WRONG, ids=str)
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_wrong_parameters_are_refused_before_training(kind, settings):
    if not set(settings) <= set(kind().get_params()):
        pytest.skip("the regressor has no such parameter")
    model = kind(**settings)
    with pytest.raises(InvalidParameterError, match=next(reversed(settings))):
        model.fit(*IRIS)
    assert not hasattr(model, "coefs_")


def test_validation_data_are_checked():
    X, y = IRIS
    with pytest.raises(ValueError, match="together"):
        MLPClassifier().fit(X, y, X_val=X)
    with pytest.raises(ValueError, match="features"):
        MLPClassifier().fit(X, y, X_val=X[:, :2], y_val=y)
    with pytest.raises(ValueError, match="classes"):
        MLPClassifier().fit(X, y, X_val=X, y_val=y + 1)
    with pytest.raises(ValueError, match="Negative"):
        MLPClassifier().fit(X, y, sample_weight=-np.ones(150))
    with pytest.raises(ValueError, match="at least one non-zero"):
        MLPClassifier().fit(X, y, sample_weight=np.zeros(150))
    with pytest.raises(ValueError, match="poisson"):
        MLPRegressor("poisson").fit(X, y - 1.0)


def test_a_schedule_may_have_the_length_of_the_training():
    settings = {"learning_rate_init": 0.01, "batch_size": 40, "optimizer": "adamw"}
    of_fit = fitted(schedule=schedule.cosine(0.01, total="fit"), **settings)
    assert same(of_fit, fitted(schedule="cosine", **settings))
    assert same(of_fit, fitted(schedule=schedule.cosine(0.01, 4 * 20), **settings))  # 150 rows
