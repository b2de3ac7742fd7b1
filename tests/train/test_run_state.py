"""What influences the rest of a run is in its state; a run made otherwise is refused by name."""

import functools
import pathlib

import numpy as np
import pytest
from runs import Adam, blobs, cumulative, everything, fit, network, trainer

from fastreg import ElasticNet, checkpoint, schedule
from fastreg._train.history import begun, untimed
from fastreg.callbacks import Callback, Checkpoint
from fastreg.checkpoint import CheckpointError
from fastreg.nn import softmax_cross_entropy
from fastreg.plateau import ReduceOnPlateau
from fastreg.stopping import EarlyStopping

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


@pytest.mark.parametrize("every", [{"every": 1}, {"every_steps": 1}], ids=["epoch", "step"])
def test_a_checkpoint_finds_callbacks_with_a_state_where_the_run_is(every, tmp_path):
    """Whatever their order."""

    class Ends(Counting):
        def on_epoch_end(self, epoch, logs=None):
            self.seen += 1000

    class Look(Checkpoint):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            self.look()

        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            self.look()

        def look(self):
            if pathlib.Path(self.path).exists():
                saved = checkpoint.load(self.path)
                seen, cursor = saved["parts"]["callbacks[1]"]["seen"], saved["cursor"]
                assert seen == cursor["step"] + 1000 * cursor["epoch"]
                looks.append(seen)

    looks = []
    fit(trainer(callbacks=[Look(tmp_path / "run.ckpt", **every), Ends(10**6)]), epochs=2)
    assert len(set(looks)) > 1


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
    {"evaluate_training": True},
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
        (("cursor", "so_far"), [], "so_far must be a dict"),
        (("cursor", "so_far"), {"seconds": []}, "unknown .'seconds'"),
        (("cursor", "so_far"), {"learning_rate": "x"}, "learning_rate"),
        (("cursor", "so_far"), {**untimed(begun()), "loss": None}, "so_far must hold"),
        (("cursor", "so_far"), {**untimed(begun()), "other": 1}, "so_far lacks"),
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
