"""The trainer: stopping, callbacks, schedules, penalties, bad data."""

import io
import signal
import sys
import tracemalloc

import numpy as np
import pytest
from runs import Adam, blobs, everything, fit, network, trainer, weights

from fastreg import ElasticNet, GroupLasso, schedule
from fastreg.callbacks import Callback, LiveDiagnosis
from fastreg.nn import (
    Dense,
    ReLU,
    Sequential,
    binary_cross_entropy,
    mlp,
    mse,
    softmax_cross_entropy,
)
from fastreg.plateau import ReduceOnPlateau
from fastreg.stopping import EarlyStopping
from fastreg.study import diagnose
from fastreg.train import Trainer

# --- stopping ------------------------------------------------------------------------------


class Hooks(Callback):
    def __init__(self):
        self.calls = []

    def __getattribute__(self, name):
        if name.startswith("on_"):
            return lambda *args: self.calls.append((name, *args[:-1]))
        return super().__getattribute__(name)


def test_callbacks_are_told_in_order():
    hooks = Hooks()
    fit(trainer(callbacks=[hooks]), epochs=2, batch_size=50)
    epoch = [
        ("on_train_batch_begin", 0),
        ("on_train_batch_end", 0),
        ("on_train_batch_begin", 1),
        ("on_train_batch_end", 1),
    ]
    assert hooks.calls == [
        ("on_train_begin",),
        *(("on_epoch_begin", 0), *epoch, ("on_epoch_end", 0)),
        *(("on_epoch_begin", 1), *epoch, ("on_epoch_end", 1)),
        ("on_train_end",),
    ]


class PressCtrlC(Callback):
    def __init__(self, step, times=1):
        self.at, self.times = step, times

    def on_train_batch_begin(self, batch, logs=None):
        if self.trainer.step == self.at:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


def test_ctrl_c_ends_training_between_two_steps():
    before = signal.getsignal(signal.SIGINT)
    run = trainer(callbacks=[PressCtrlC(12)])
    history = fit(run)
    assert (run.stop_reason, run.step, run.epoch) == ("interrupt", 13, 2)
    assert {len(values) for values in history.values()} == {2}
    assert not run.model.training
    assert signal.getsignal(signal.SIGINT) is before
    assert run.predict(blobs()[0]).shape == (90,)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path):
    whole, run = trainer(), trainer(callbacks=[PressCtrlC(12)])
    fit(whole)
    fit(run)
    run.save(tmp_path / "run.ckpt")
    other = trainer(rng=8)
    fit(other, resume_from=tmp_path / "run.ckpt")
    assert everything(other) == everything(whole)


def test_a_second_ctrl_c_does_not_wait():
    run = trainer(callbacks=[PressCtrlC(3, times=2)])
    with pytest.raises(KeyboardInterrupt):
        fit(run)
    assert not run.model.training
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_gives_back_the_last_good_weights(value):
    good = trainer()
    fit(good, epochs=2)

    def loss(outputs, y):
        found, gradient = softmax_cross_entropy(outputs, y)
        return (value if run.step == 12 and run.model.training else found), gradient

    run = trainer(loss=loss)
    with pytest.raises(FloatingPointError, match=f"loss of step 12 is {value}.*epoch 2 again"):
        fit(run)
    assert weights(run.model) == weights(good.model)
    assert run.stop_reason == "not finite"
    assert {len(values) for values in run.history.values()} == {2}
    assert not run.model.training


def test_weights_ruined_by_the_last_step_are_not_kept():
    model = network()
    before = weights(model)
    X, y = blobs(75)
    run = trainer(model=model, optimizer=Adam(1e38))
    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match="Lower the learning rate"),
    ):
        run.fit(X, y, epochs=1, batch_size=75)
    assert weights(model) == before


def test_a_further_fit_begins_stopping_and_schedule_anew():
    stopping = EarlyStopping(patience=2, min_delta=1e9)  # stops after two more epochs, always
    rate = ReduceOnPlateau(1e-3, patience=1, min_delta=1e9)
    run = trainer(early_stopping=stopping, schedule=rate)
    first = {name: list(values) for name, values in fit(run, epochs=9).items()}
    second = fit(run, epochs=9)
    assert len(first["loss"]) == len(second["loss"]) == len(stopping.history) == 3
    assert first["learning_rate"] == second["learning_rate"]
    assert first["learning_rate"][-1] < 1e-3
    assert second["loss"][0] != first["loss"][0]  # the weights went on


def test_early_stopping_brings_its_best_weights_back():
    best = {}

    class Keep(Callback):
        def on_epoch_end(self, epoch, logs=None):
            best[epoch] = weights(self.trainer.model)

    stopping = EarlyStopping(patience=2, min_delta=0.5)
    run = trainer(early_stopping=stopping, callbacks=[Keep()])
    fit(run, epochs=50)
    assert run.stop_reason == "patience"
    assert run.epoch < 50
    assert weights(run.model) == best[stopping.best_epoch]
    assert stopping.history == run.history["val_loss"]


def test_a_schedule_sets_the_rate_of_every_step():
    rates = []

    class Keep(Callback):
        def on_train_batch_end(self, batch, logs=None):
            rates.append(self.trainer.optimizer.lr)

    curve = schedule.cosine(0.02, 40)
    run = trainer(schedule=curve, callbacks=[Keep()])
    fit(run)
    assert rates == [curve(t) for t in range(40)]
    assert run.history["learning_rate"] == rates[4::5]


def test_penalties_join_the_gradient_of_weights_alone():
    class Record:
        def update(self, params, grads):
            self.grads = {name: grad.copy() for name, grad in grads.items()}

    X, y = blobs(20)
    penalties = [ElasticNet(0.1, 0.2), GroupLasso(0.3)]
    ours, theirs = (
        trainer(optimizer=Record(), penalties=chosen, model=network(dropout=0.0))
        for chosen in (penalties, [])
    )
    for run in (ours, theirs):
        run.fit(X, y, epochs=1, batch_size=20)
    for name, W in ours.model.params.items():
        found = ours.optimizer.grads[name] - theirs.optimizer.grads[name]
        expected = 0 * W
        if name.endswith("W"):
            expected = 0.1 * np.sign(W) + 0.2 * W + GroupLasso(0.3).gradient(W)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert ours.history["loss"] == theirs.history["loss"]


def test_penalties_make_weights_smaller():
    plain, decayed = trainer(), trainer(penalties=[ElasticNet(0.01, 0.1)])
    fit(plain), fit(decayed)
    assert decayed.history["weight_norm"][-1] < plain.history["weight_norm"][-1]


def test_live_diagnosis_reports_while_training():
    said = []
    diagnosis = LiveDiagnosis(every=3, report=said.append)
    run = trainer(callbacks=[diagnosis])
    fit(run)
    assert len(said) == 2
    assert diagnosis.last is said[-1]
    assert diagnosis.last == diagnose(run.history["loss"][:6], run.history["val_loss"][:6])


# --- predictions and data ------------------------------------------------------------------


X, Y = blobs(9)
BAD = {
    "lengths": ({"y": Y[:8]}, ValueError, "X and y must have .* got lengths 9 and 8"),
    "high label": ({"y": Y + 1}, ValueError, "y must be from 0 to 2, got 3"),
    "negative label": ({"y": Y - 1}, ValueError, "y must be from 0 to 2, got -1"),
    "float labels": ({"y": Y * 1.0}, TypeError, "y must be integers, got float64"),
    "two labels": ({"y": np.stack([Y, Y], 1)}, ValueError, "y must be one class per row"),
    "empty": ({"X": X[:0], "y": Y[:0]}, ValueError, "X must have one row .* at least one"),
    "features": ({"X": X[:, :1]}, ValueError, "X must have 2 features, got 1"),
    "one axis": ({"X": X[:, 0]}, ValueError, "X must have one row per sample"),
    "objects": ({"X": X.astype(object)}, TypeError, "X must be an array of real .*object"),
    "strings": ({"X": X.astype(str)}, TypeError, "X must be an array of real numbers"),
    "complex": ({"X": X * 1j}, TypeError, "X must be an array of real .*complex"),
    "object labels": ({"y": Y.astype(object)}, TypeError, "y must be an array of real numbers"),
    "no y": ({"y": None}, ValueError, "X and y must come together, got no y"),
    "no X_val": ({"y_val": Y}, ValueError, "X_val and y_val must come together, got no X_val"),
    "X_val": ({"X_val": X[:, :1], "y_val": Y}, ValueError, "X_val must have 2 features, got 1"),
    "y_val": ({"X_val": X, "y_val": Y + 1}, ValueError, "y_val must be from 0 to 2"),
    "weights": ({"sample_weight": np.ones(8)}, ValueError, "sample_weight must have shape"),
    "negative weight": ({"sample_weight": -np.ones(9)}, ValueError, "sample_weight must"),
    "word weights": ({"sample_weight": ["a"] * 9}, TypeError, "sample_weight must be numbers"),
    "epochs": ({"epochs": 0}, ValueError, "epochs must be at least 1"),
    "batch size": ({"batch_size": 1.5}, TypeError, "batch_size must be an integer"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "error", "message"), BAD.values(), ids=BAD)
def test_bad_data_is_named_before_anything_is_trained(changes, error, message):
    hooks = Hooks()
    run = trainer(callbacks=[hooks])
    before = weights(run.model)
    with pytest.raises(error, match=f"Trainer.fit: {message}"):
        run.fit(**{"X": X, "y": Y, "epochs": 1, **changes})
    assert weights(run.model) == before
    assert not hooks.calls


@pytest.mark.parametrize(
    ("loss", "sizes", "y", "message"),
    [
        (mse, [2, 1], np.ones((9, 2)), r"y must have shape \(9, 1\), got \(9, 2\)"),
        (mse, [2, 2], np.ones(9), r"y must have shape \(9, 2\), got \(9,\)"),
        (binary_cross_entropy, [2, 1], 2 * np.ones(9), "y must be from 0 to 1"),
    ],
)
def test_bad_targets_of_other_losses(loss, sizes, y, message):
    with pytest.raises(ValueError, match=message):
        trainer(model=mlp(sizes), loss=loss).fit(X, y, epochs=1)


def test_whole_numbers_and_lists_are_data():
    run = trainer()
    run.fit([[1, 2], [3, 4]], [0, 1], epochs=1)
    assert run.predict([[1, 2]]).shape == (1,)


def test_the_regularised_network_reads_digits():
    for needed in ("sklearn", "matplotlib", "tqdm"):
        pytest.importorskip(needed, reason="needs the extra 'lab'")
    from fastreg.lab import data

    digits = data.load("digits", seed=0)
    model = mlp([64, 128, 64, 10], batch_norm=True, dropout=0.2, rng=0)
    run = trainer(model=model, optimizer=Adam(0.003), schedule=schedule.cosine(0.003, 40 * 17))
    run.fit(digits.X_train, digits.y_train, epochs=40)
    assert run.evaluate(digits.X_test, digits.y_test)[1] > 0.97


class Evaluate(Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.trainer.evaluate(*blobs())


def test_a_callback_may_evaluate_in_the_middle_of_an_epoch():
    plain, watched = trainer(), trainer(callbacks=[Evaluate()])
    fit(plain, epochs=2), fit(watched, epochs=2)
    assert weights(watched.model) == weights(plain.model)


@pytest.mark.parametrize(
    "hook", ["on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_epoch_end"]
)
def test_a_callback_that_fails_leaves_evaluation_mode(hook):
    def fail(*arguments):
        raise RuntimeError("callback")

    callback = Callback()
    setattr(callback, hook, fail)
    run = trainer(callbacks=[callback])
    assert run.model.training
    with pytest.raises(RuntimeError, match="callback"):
        fit(run)
    assert not any(layer.training for layer in (run.model, *run.model.layers))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("loss", 5, "loss must be callable, got 5"),
        ("optimizer", "adam", r"optimizer must be with update\(\), got 'adam'"),
        ("schedule", 0.1, "schedule must be callable, got 0.1"),
        ("early_stopping", 5, "early_stopping must be callable, got 5"),
        ("penalties", ElasticNet(0.1, 0.1), "penalties must be a sequence"),
        ("penalties", [3], r"penalties\[0\] must be with value_and_gradient"),
        ("callbacks", [3], r"callbacks\[0\] must be with on_train_batch_end"),
    ],
)
def test_parts_of_the_wrong_kind_are_named(name, value, message):
    with pytest.raises(TypeError, match=f"Trainer: {message}"):
        trainer(**{name: value})


def test_the_history_measures_what_its_names_say():
    run = trainer()
    history = fit(run, epochs=2)
    params = np.concatenate([array.ravel() for array in run.model.params.values()])
    slopes = np.concatenate([array.ravel() for array in run.model.grads.values()])
    assert history["weight_norm"][-1] == pytest.approx(np.linalg.norm(params), rel=1e-5)
    assert history["gradient_norm"][-1] == pytest.approx(np.linalg.norm(slopes), rel=1e-5)
    run.model.layers[0].W[:] = 9e-4
    run.optimizer.lr = 1e-30
    near = fit(run, epochs=1)["near_zero"][-1]
    assert near == pytest.approx(np.mean(np.abs(params[16:]) < 1e-3) * (1 - 16 / params.size)
                                 + 16 / params.size)  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("stream", "shown"), [(Terminal, True), (io.StringIO, False)])
def test_the_progress_bar_is_for_terminals(stream, shown, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr("sys.stderr", stream())
    fit(trainer(progress=True), epochs=2)
    assert ("2/2" in sys.stderr.getvalue()) == shown


@pytest.mark.parametrize(("changes", "message"), [
    ({"X_val": np.ones((4, 3, 3), np.float32)}, r"X_val must have samples of shape \(3, 2\)"),
    ({"y_val": np.ones((4, 2), int)}, r"y_val must have targets of shape \(\), as y, got \(2,\)"),
])  # fmt: skip
def test_validation_data_are_checked_before_training(changes, message):
    class Flatten(ReLU):
        def forward(self, X):
            return super().forward(X.reshape(len(X), -1))

    def loss(outputs, labels):
        seen.append(len(labels))
        return 0.0, np.zeros_like(outputs)

    seen = []
    data = {"X": np.ones((8, 3, 2), np.float32), "y": np.arange(8)}
    data |= {"X_val": np.ones((4, 3, 2), np.float32), "y_val": np.arange(4), **changes}
    run = trainer(model=Sequential([Flatten(), Dense(6, 3)]), loss=loss)
    with pytest.raises(ValueError, match=message):
        run.fit(**data, epochs=1)
    assert seen == []


def test_a_trainer_prints_the_sentence_once(capsys):
    run = trainer(early_stopping=EarlyStopping(patience=2, min_delta=9.0))
    fit(run, epochs=9)
    sentence = "Early stopping triggered after 2 epochs without improvement\n"
    assert capsys.readouterr().out == sentence
    fit(trainer(early_stopping=EarlyStopping(2, 9.0, verbose=False)), epochs=9)
    assert capsys.readouterr().out == ""


def test_wide_targets_are_not_copied_for_an_epoch():
    """An autoencoder's targets are as large as its data."""
    X = np.zeros((20_000, 64), np.float32)
    run = Trainer(mlp([64, 2, 64], rng=0), mse, Adam(0.1), rng=0, progress=False)
    tracemalloc.start()
    try:
        run.fit(X, X, epochs=1, batch_size=100)
        assert tracemalloc.get_traced_memory()[1] < X.nbytes / 4
    finally:
        tracemalloc.stop()
