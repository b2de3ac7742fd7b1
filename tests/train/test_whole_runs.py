"""What a run leaves behind, however it ends: whole steps, the best weights, its whole state."""

import contextlib
import functools
import signal

import harness
import numpy as np
import pytest
from runs import Adam, blobs, everything, fit, network, trainer, weights

import fastreg
from fastreg import BatchNorm, ElasticNet, checkpoint, schedule
from fastreg._train import loop
from fastreg.callbacks import Callback, Checkpoint
from fastreg.checkpoint import CheckpointError
from fastreg.nn import Dense, ReLU, Sequential, mlp, mse, softmax_cross_entropy
from fastreg.plateau import ReduceOnPlateau
from fastreg.stopping import EarlyStopping
from fastreg.train import Trainer


def cumulative(seed=1):
    """A network whose batch norm averages over all calls."""
    rng = np.random.default_rng(seed)
    layers = [Dense(2, 8, rng=rng, bias=False), BatchNorm(8, momentum=None), ReLU()]
    return Sequential([*layers, fastreg.Dropout(0.3, rng=seed), Dense(8, 3, rng=rng)])


# --- all that influences the future is in the state ----------------------------------------


def test_batch_norm_that_averages_over_all_calls_goes_on_bit_for_bit(tmp_path):
    whole, half, other = (trainer(model=cumulative(seed)) for seed in (1, 1, 9))
    fit(whole)
    fit(half, epochs=3)
    half.save(tmp_path / "run.ckpt")
    fit(other, resume_from=tmp_path / "run.ckpt")
    assert everything(other) == everything(whole)
    assert other.model.layers[1].batches == whole.model.layers[1].batches == 40


def test_a_network_goes_on_from_its_state_alone():
    a, b = cumulative(), cumulative(seed=9)
    X = blobs(64)[0].reshape(4, 16, 2)
    for batch in X[:2]:
        a.forward(batch)
    b.load_state_dict(a.state_dict())
    for batch in X[2:]:
        np.testing.assert_array_equal(a.forward(batch), b.forward(batch))
    np.testing.assert_equal(a.state_dict(), b.state_dict())


@pytest.mark.parametrize(
    "compose",
    [
        lambda rate: schedule.warmup(rate, 3),
        lambda rate: schedule.join([schedule.constant(0.01), rate], [4]),
        lambda rate: schedule.warmup(schedule.join([rate, schedule.constant(0.01)], [900]), 2),
    ],
)
def test_a_plateau_inside_a_schedule_is_updated_reset_and_saved(compose, tmp_path):
    def make():
        rate = ReduceOnPlateau(0.02, factor=0.5, patience=1, min_delta=1.0)
        return rate, {"schedule": compose(rate)}

    (_, one), (_, two), (rate, three) = make(), make(), make()
    whole, half, other = trainer(**one), trainer(**two), trainer(**three)
    fit(whole)
    fit(half, epochs=4)
    half.save(tmp_path / "run.ckpt")
    fit(other, resume_from=tmp_path / "run.ckpt")
    assert everything(other) == everything(whole)
    assert whole.history["learning_rate"][-1] < 0.01
    reduced = rate.value
    fit(other, epochs=1)
    assert reduced < rate.value


class Counting(Callback):
    """Ends the run after so many batches, counted over all of its life."""

    def __init__(self, limit):
        self.limit, self.seen = limit, 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        self.trainer.stop_training = self.seen >= self.limit

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


def test_callbacks_with_a_state_go_on_with_it(tmp_path):
    first = trainer(callbacks=[Checkpoint(tmp_path / "run.ckpt"), Counting(12)])
    fit(first)
    other = trainer(callbacks=[Checkpoint(tmp_path / "other.ckpt"), Counting(12)])
    fit(other, resume_from=tmp_path / "run.ckpt")
    assert other.step == first.step == 12
    with pytest.raises(CheckpointError, match=r"callbacks\[1\]"):
        trainer(callbacks=[Counting(12)]).load(tmp_path / "run.ckpt")


def test_the_learning_rate_in_the_history_is_that_of_the_step():
    """An optimizer's own schedule goes on where the trainer's count begins anew."""
    curve = schedule.linear(0.02, 0.0, 100)
    run = trainer(optimizer=Adam(curve))
    fit(run, epochs=2)
    assert fit(run, epochs=2)["learning_rate"] == [curve(14), curve(19)]


# --- another run is refused by name --------------------------------------------------------

OPTIONS = {
    "schedule": lambda: schedule.warmup(schedule.cosine(0.02, 40), 3),
    "early_stopping": lambda: EarlyStopping(patience=50),
    "penalties": lambda: [ElasticNet(0.01, 0.02)],
    "loss": lambda: functools.partial(softmax_cross_entropy, class_weights=np.array([1.0, 2, 1])),
}
OTHERS = {
    "steps": ({"schedule": schedule.warmup(schedule.cosine(0.02, 41), 3)}, "total_steps was 40"),
    "ramp": ({"schedule": schedule.warmup(schedule.cosine(0.02, 40), 4)}, "warmup_steps was 3"),
    "no schedule": ({"schedule": None}, "schedule was 'warmup', not None"),
    "function": ({"schedule": lambda step: 0.02}, "schedule was 'warmup', not '<lambda>'"),
    "patience": ({"early_stopping": EarlyStopping(patience=49)}, "patience was 50, not 49"),
    "mode": ({"early_stopping": EarlyStopping(50, mode="max")}, "mode was 'min', not 'max'"),
    "penalty": ({"penalties": [ElasticNet(0.01, 0.03)]}, "lambda_l2 was 0.02, not 0.03"),
    "no penalty": ({"penalties": []}, r"penalties\[0\] was 'ElasticNet', not None"),
    "loss": ({"loss": softmax_cross_entropy}, r"loss.class_weights\[1\] was 2.0, not None"),
    "activation": ({"model": network(activation="tanh")}, "'ReLU', not 'Tanh'"),
    "dropout": ({"model": network(dropout=0.4)}, r"layers\[3\].drop_rate was 0.3, not 0.4"),
}


@pytest.mark.parametrize(("changes", "message"), OTHERS.values(), ids=OTHERS)
def test_a_run_made_otherwise_is_refused_by_name(changes, message, tmp_path):
    path = tmp_path / "run.ckpt"
    made = {name: make() for name, make in OPTIONS.items()}
    run = trainer(**made)
    fit(run, epochs=1)
    run.save(path)
    same = trainer(model=network(seed=9), **{name: make() for name, make in OPTIONS.items()})
    same.load(path)
    other = trainer(**{**{name: make() for name, make in OPTIONS.items()}, **changes})
    before = everything(other)
    for call in (lambda: other.load(path), lambda: fit(other, resume_from=path)):
        with pytest.raises(CheckpointError, match=message):
            call()
        assert everything(other) == before


def test_what_is_printed_is_no_setting(tmp_path):
    run = trainer(early_stopping=EarlyStopping(50, verbose=False))
    fit(run, epochs=1)
    run.save(tmp_path / "run.ckpt")
    trainer(early_stopping=EarlyStopping(50)).load(tmp_path / "run.ckpt")


@pytest.mark.parametrize("changes", [
    {"X_val": None, "y_val": None}, {"sample_weight": np.ones(75)}, {"batch_size": 15},
    {"X_val": blobs(29)[0], "y_val": blobs(29)[1]},
])  # fmt: skip
def test_data_of_another_layout_is_refused(changes, tmp_path):
    run = trainer()
    fit(run, epochs=1)
    run.save(tmp_path / "run.ckpt")
    with pytest.raises(CheckpointError, match="cannot go on with"):
        fit(run, resume_from=tmp_path / "run.ckpt", **changes)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("history", "loss"), 1.5, r"history\['loss'\] must be a list"),
        (("history", "loss"), [0.5, 0.4], r"history\['loss'\] must have 1 entries, got 2"),
        (("history", "loss"), ["low"], r"history\['loss'\] must be a list of numbers"),
        (("history",), [], "history must be a dict"),
        (("cursor", "last_step"), [], "last_step must be a dict"),
        (("cursor", "last_step"), {"seconds": 3}, "seconds"),
        (("cursor", "last_step"), {"seconds": [], "learning_rate": "x"}, "last_step must hold"),
        (("cursor", "batch"), 6, "step 5 cannot be batch 6"),
        (("cursor", "step"), 4, "step 4 cannot be batch 0 of epoch 1 with 5 batches"),
        (("cursor", "cut"), 3, "cut must be a dict"),
        (("model", "3.call"), -1, "call must be"),
        (("model", "1.batches"), None, "batches must be"),
        (("settings",), None, "settings must be a dict"),
        (("best_batches",), ["a"], "best_batches must be"),
        (("parts", "optimizer"), [], "optimizer|state must be"),
        (("rng",), {}, "made for another run"),
    ],
)
def test_a_sealed_file_that_claims_otherwise_is_refused(place, value, message, tmp_path):
    path = tmp_path / "run.ckpt"
    run = trainer()
    fit(run, epochs=1)
    run.save(path)
    state = checkpoint.load(path)
    inner = functools.reduce(dict.__getitem__, place[:-1], state)
    inner[place[-1]] = value
    checkpoint.save(path, state)
    other = trainer(model=network(seed=9))
    before = everything(other), other.model.state_dict()
    with pytest.raises(CheckpointError, match=message):
        other.load(path)
    assert everything(other) == before[0]
    np.testing.assert_equal(other.model.state_dict(), before[1])


def test_a_network_refuses_a_bad_entry_deep_in_a_state_and_stays_as_it_was():
    model, state = network(seed=3), network(seed=4).state_dict()
    before = model.state_dict()
    for key, value in (("3.call", -1), ("3.key", "x"), ("1.batches", 1.5)):
        with pytest.raises((TypeError, ValueError), match=key.split(".")[1]):
            model.load_state_dict({**state, key: value})
        np.testing.assert_equal(model.state_dict(), before)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
def test_a_forward_pass_that_fails_moves_no_statistics_and_no_counts(error):
    model = cumulative()
    model.forward(blobs(16)[0])
    before = model.state_dict()

    def fail(X):
        raise error

    model.layers[-1].forward = fail
    with pytest.raises(error):
        model.forward(blobs(16)[0])
    np.testing.assert_equal(model.state_dict(), before)


def test_an_interrupt_while_loading_changes_nothing(tmp_path, monkeypatch):
    run = trainer(early_stopping=EarlyStopping(50))
    fit(run, epochs=2)
    run.save(tmp_path / "run.ckpt")
    other = trainer(model=network(seed=9), early_stopping=EarlyStopping(50))
    before = everything(other)

    def interrupted(self, state):
        if state["history"]:
            raise KeyboardInterrupt

    monkeypatch.setattr(EarlyStopping, "load_state_dict", interrupted)
    with pytest.raises(KeyboardInterrupt):
        other.load(tmp_path / "run.ckpt")
    assert everything(other) == before


# --- the best weights are there, however training ended ------------------------------------


class Best(Callback):
    """Keeps the weights of the best epoch, then ends the run in one way or another."""

    def __init__(self, end=None, at=4):
        self.end, self.at, self.kept, self.low = end, at, None, np.inf

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.low - 0.0001:
            self.kept, self.low = weights(self.trainer.model), logs["val_loss"]
        if epoch == self.at and self.end:
            self.end(self.trainer)


def stop(run):
    run.stop_training = True


def press(run):
    signal.raise_signal(signal.SIGINT)


def press_twice(run):
    press(run), press(run)


def fail(run):
    raise RuntimeError("callback")


def diverge(run):
    run.model.layers[0].W[0, 0] = np.nan


ENDS = {
    "epochs done": (None, None),
    "callback": (stop, None),
    "interrupt": (press, None),
    "second interrupt": (press_twice, KeyboardInterrupt),
    "exception": (fail, RuntimeError),
    "not finite": (diverge, FloatingPointError),
}


def rising(seed=1):
    """A run whose validation loss rises: labels that say nothing of the test's."""
    options = {"early_stopping": EarlyStopping(patience=99), "model": cumulative(seed)}
    return {"optimizer": Adam(0.3), **options}


@pytest.mark.parametrize(("end", "error"), ENDS.values(), ids=ENDS)
@np.errstate(all="ignore")
def test_the_best_weights_are_there_however_training_ends(end, error):
    best = Best(end)
    run = trainer(callbacks=[best], **rising())
    try:
        fit(run)
    except (KeyboardInterrupt, RuntimeError, FloatingPointError) as raised:
        assert type(raised) is error  # noqa: PT017
    else:
        assert error is None
    assert run.early_stopping.best_epoch < run.epoch - 1, "the best epoch must not be the last"
    assert weights(run.model) == best.kept
    assert run.model.layers[1].batches == 5 * (run.early_stopping.best_epoch + 1)
    assert {len(column) for column in run.history.values()} == {run.epoch}


def test_without_restore_best_the_last_weights_stay():
    options = rising()
    options["early_stopping"] = EarlyStopping(patience=99, restore_best=False)
    run, other = trainer(**options), trainer(**{**rising(), "early_stopping": None})
    fit(run), fit(other)
    assert weights(run.model) == weights(other.model)


@pytest.mark.parametrize("end", [None, stop, press], ids=["epochs done", "callback", "interrupt"])
def test_a_run_with_its_best_weights_back_goes_on_where_training_was(end, tmp_path):
    """And who loads it has what the model had."""
    path = tmp_path / "run.ckpt"
    whole = trainer(**rising())
    fit(whole)
    run = trainer(callbacks=[Best(end)], **rising())
    fit(run, epochs=5)
    run.save(path)
    loaded = trainer(**rising(9))
    loaded.load(path)
    assert everything(loaded) == everything(run)
    np.testing.assert_equal(loaded.model.state_dict(), run.model.state_dict())
    loaded.save(path)  # as good as the first file
    other = trainer(**rising(9))
    fit(other, resume_from=path)
    assert everything(other) == everything(whole)


@np.errstate(all="ignore")
def test_resuming_into_divergence_leaves_the_best_weights_of_the_file(tmp_path):
    path = tmp_path / "run.ckpt"
    run = trainer(**rising())
    fit(run, epochs=5)
    best = weights(run.model)
    run.save(path)
    ruin = Callback()
    ruin.on_train_begin = lambda logs: diverge(other)
    other = trainer(callbacks=[ruin], **rising(9))
    with pytest.raises(FloatingPointError, match="weights of epoch 5 again"):
        fit(other, resume_from=path)
    assert run.early_stopping.best_epoch == other.early_stopping.best_epoch < 4
    assert weights(other.model) == best
    with pytest.raises(RuntimeError, match="Trainer.save: the loss was no longer finite"):
        other.save(path)
    fit(trainer(**rising(3)), resume_from=path)  # the file is as it was


def test_weights_changed_after_the_run_are_saved_as_they_are(tmp_path):
    run = trainer(**rising())
    fit(run, epochs=5)
    run.model.layers[0].W[:] = 7.0
    run.save(tmp_path / "run.ckpt")
    loaded = trainer(**rising(9))
    loaded.load(tmp_path / "run.ckpt")
    assert weights(loaded.model) == weights(run.model)


# --- a step happens whole or not at all ----------------------------------------------------


def failing(place, error, at):
    """A trainer in which one part of step ``at`` fails."""
    calls = []

    def fail_in(function):
        @functools.wraps(function)
        def wrapped(*arguments, **options):
            if run.model.training:
                calls.append(1)
                if len(calls) == at + 1:
                    if error is KeyboardInterrupt:
                        press_twice(run)
                    raise error("planted")
            return function(*arguments, **options)

        return wrapped

    run = trainer(model=cumulative())
    if place == "loss":
        run.loss = fail_in(softmax_cross_entropy)
    elif place == "backward":
        run.model.layers[-1].backward = fail_in(run.model.layers[-1].backward)
    elif place == "schedule":
        run.schedule = fail_in(lambda step: 0.02)
    else:
        run.optimizer.update = fail_in(run.optimizer.update)
    return run


@pytest.mark.parametrize("place", ["loss", "backward", "schedule", "update"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError])
def test_a_step_that_fails_is_taken_back_and_the_run_goes_on(place, error, tmp_path):
    whole = trainer(model=cumulative())
    fit(whole)
    run = failing(place, error, at=12)
    with pytest.raises(error):
        fit(run)
    assert (run.step, run.batch, run.model.layers[1].batches) == (12, 2, 12)
    run.schedule, run.loss = None, softmax_cross_entropy
    run.save(tmp_path / "run.ckpt")
    other = trainer(model=cumulative(seed=9))
    fit(other, resume_from=tmp_path / "run.ckpt")
    assert everything(other) == everything(whole)


class HalfDone(Adam):
    """An optimizer whose update is interrupted after it has happened."""

    def update(self, params, grads):
        super().update(params, grads)
        if self.t == 12:
            raise KeyboardInterrupt


def test_a_state_that_is_no_whole_step_is_not_saved(tmp_path):
    run = trainer(optimizer=HalfDone(0.02))
    with pytest.raises(KeyboardInterrupt):
        fit(run)
    with pytest.raises(RuntimeError, match="Trainer.save: a step was interrupted halfway"):
        run.save(tmp_path / "run.ckpt")
    assert not (tmp_path / "run.ckpt").exists()
    fit(run, epochs=1)  # a further run begins with a whole step
    run.save(tmp_path / "run.ckpt")


class PressInUpdate(Adam):
    """An optimizer in whose update Ctrl-C is pressed."""

    times = 2

    def update(self, params, grads):
        super().update(params, grads)
        if self.t == 12:
            for _ in range(self.times):
                press(None)


def test_the_second_ctrl_c_waits_for_the_update_and_the_third_does_not(tmp_path):
    run = trainer(optimizer=PressInUpdate(0.02))
    with pytest.raises(KeyboardInterrupt):
        fit(run)
    assert run.step == run.optimizer.t == 12
    run.save(tmp_path / "run.ckpt")
    run.optimizer = PressInUpdate(0.02)
    run.optimizer.times = 3
    with pytest.raises(KeyboardInterrupt):
        fit(run)
    with pytest.raises(RuntimeError, match="halfway"):
        run.save(tmp_path / "run.ckpt")


def test_the_second_ctrl_c_waits_for_the_best_weights():
    best, options = Best(press), rising()
    run = trainer(callbacks=[best], **options)
    restore = run.early_stopping.restore
    run.early_stopping.restore = lambda weights: (press(run), restore(weights))
    with pytest.raises(KeyboardInterrupt):
        fit(run)
    assert weights(run.model) == best.kept
    assert not run.model.training


def test_what_an_interrupted_end_left_of_its_handler_is_taken_over():
    """A second Ctrl-C may come between a run's end and its giving Ctrl-C back."""
    over = loop.Presses(trainer())
    for _ in range(2):
        with contextlib.suppress(KeyboardInterrupt):
            over.press(None, None)
    before = signal.signal(signal.SIGINT, over.press)
    try:
        run = trainer(callbacks=[Best(press)])
        fit(run)
        assert run.stop_reason == "interrupt"
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_load_that_is_interrupted_has_happened_or_not(tmp_path):
    """At whichever line of it: counters, history and weights are of one run."""
    source, path = trainer(**rising()), tmp_path / "run.ckpt"
    fit(source, epochs=3)
    source.save(path)

    def lines(file):
        for line in range(1, 2000):
            run = trainer(**rising(9))
            before = everything(run), run.epoch, run._cut
            if not harness.interrupted(line, file, run.load, path):
                return line
            assert (everything(run), run.epoch, run._cut) == before
        return None

    assert lines("_train/resume.py") > 100


def test_ctrl_c_while_a_load_is_under_way_comes_after_it(tmp_path):
    source, path = trainer(**rising()), tmp_path / "run.ckpt"
    fit(source, epochs=3)
    source.save(path)
    run = trainer(**rising(9))
    load = run.optimizer.load_state_dict
    run.optimizer.load_state_dict = lambda state: (press(run), load(state))
    with pytest.raises(KeyboardInterrupt):
        run.load(path)
    assert everything(run) == everything(source)
    assert not run.stop_training
    run = trainer(**rising(9))
    load = run.optimizer.load_state_dict
    run.optimizer.load_state_dict = lambda state: (press(run), load(state))
    fit(run, resume_from=path)
    assert (run.stop_reason, run.step, run.epoch) == ("interrupt", source.step, 3)


# --- data, weights and links ---------------------------------------------------------------


@pytest.mark.parametrize("wrap", [
    lambda loss: loss, lambda loss: lambda *a, **k: loss(*a, **k)
], ids=["partial", "function"])  # fmt: skip
def test_a_batch_of_a_class_of_weight_zero_is_skipped(wrap):
    X, y = blobs(100)
    y = np.zeros(100, int)
    y[:5] = 1
    loss = wrap(functools.partial(softmax_cross_entropy, class_weights=[0.0, 1.0]))
    run = Trainer(mlp([2, 2], rng=0), loss, Adam(), rng=0, progress=False)
    history = run.fit(X, y, X_val=X[50:], y_val=y[50:], epochs=3, batch_size=4)
    made = run.optimizer.t
    assert 3 <= made <= 15 < run.step == 75
    assert all(len(column) == 3 for column in history.values())
    assert np.isfinite(history["loss"]).all()
    assert np.isnan(history["val_loss"]).all()  # a mean over nothing


def test_a_skipped_batch_changes_nothing():
    X, y = blobs(12)
    loss = functools.partial(softmax_cross_entropy, class_weights=[1.0, 1.0, 0.0])
    run = Trainer(cumulative(), loss, Adam(), rng=0, progress=False)
    before = run.model.state_dict()
    with pytest.raises(FloatingPointError):  # nothing at all to learn from
        run.fit(X, np.full(12, 2), epochs=1, batch_size=4)
    np.testing.assert_equal(run.model.state_dict(), before)


BAD_WEIGHTS = {
    "shape": ([1, 1, 1], r"must have shape \(4,\), got \(3,\)"),
    "negative": ([-1, 1, 1, 1], "must be finite and at least 0, got -1.0 at 0"),
    "infinite": ([1, 1, np.inf, 1], "must be finite and at least 0, got inf at 2"),
    "nothing": ([0, 0, 0, 0], "must have a positive finite sum, got 0.0"),
}


@pytest.mark.parametrize(("found", "message"), BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_losses_and_trainer_say_the_same_of_weights(found, message):
    X, y = blobs(4)
    with pytest.raises(ValueError, match=f"Trainer.fit: sample_weight {message}"):
        trainer().fit(X, y, epochs=1, sample_weight=found)
    for loss, targets in ((softmax_cross_entropy, y), (mse, np.zeros((4, 3)))):
        with pytest.raises(ValueError, match=message):
            loss(np.zeros((4, 3)), targets, sample_weight=found)


def test_a_loss_of_ones_own_is_known_by_its_link_not_by_its_name():
    def mse(outputs, labels):
        return softmax_cross_entropy(outputs, labels)

    def focal(outputs, labels):
        return softmax_cross_entropy(outputs, labels)

    X, y = blobs(90)
    for loss in (mse, focal):
        run = trainer(loss=loss)
        history = run.fit(X, y, epochs=2)
        assert "accuracy" not in history
        assert run.predict(X).shape == (90, 3)
    focal.link = "softmax"
    for loss in (focal, functools.partial(focal)):
        run = trainer(loss=loss)
        history = run.fit(X, y, epochs=2)
        assert history["accuracy"][-1] == np.mean(run.predict(X) == y)
    focal.link = "logit"
    with pytest.raises(ValueError, match=r"loss\.link must be one of .*got 'logit'"):
        trainer(loss=focal)


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
