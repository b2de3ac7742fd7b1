"""Schedules whose lengths are a fit's: bound when it begins, resumed with the same rates."""

import numpy as np
import pytest
from runs import blobs, everything, fit, network, stop, trainer

from fastreg import AdamW, schedule
from fastreg.callbacks import Callback, Checkpoint
from fastreg.checkpoint import CheckpointError
from fastreg.nn import softmax_cross_entropy
from fastreg.plateau import ReduceOnPlateau
from fastreg.train import Trainer

PER_EPOCH, EPOCHS = 5, 8  # of `fit` in runs.py: 75 rows, 16 at a time


def unbound():
    return schedule.warmup(schedule.cosine(0.05, total="fit"), "1 epoch")


def bound(epochs=EPOCHS):
    return unbound().bind(steps_per_epoch=PER_EPOCH, epochs=epochs)


class Rates(Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(self.trainer.optimizer.lr)


def test_a_fit_takes_the_rates_of_the_schedule_in_steps():
    rates = Rates()
    run, other = trainer(schedule=unbound(), callbacks=[rates]), trainer(schedule=bound())
    fit(run), fit(other)
    assert everything(run) == everything(other)
    assert rates.seen == bound()(range(PER_EPOCH * EPOCHS)).tolist()
    assert rates.seen[-1] < 2e-4  # its end is that of the fit
    assert run.schedule == unbound()  # a value, as it was


def test_a_further_fit_binds_anew():
    rates = Rates()
    run = trainer(schedule=unbound(), callbacks=[rates])
    fit(run, epochs=2), fit(run, epochs=3)
    wanted = [*bound(2)(range(2 * PER_EPOCH)), *bound(3)(range(3 * PER_EPOCH))]
    assert rates.seen == wanted


@pytest.mark.parametrize("at", [1, 7, 20])
def test_a_resumed_run_goes_on_with_the_same_rates(tmp_path, at):
    path = tmp_path / "run.ckpt"
    straight = trainer(schedule=unbound())
    fit(straight)

    class Stop(Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.trainer.step == at:
                stop(self.trainer)

    first = trainer(schedule=unbound(), callbacks=[Checkpoint(path, every_steps=at), Stop()])
    fit(first)
    second = trainer(schedule=unbound(), callbacks=[Checkpoint(tmp_path / "x"), Callback()])
    second.load(path)  # which needs no data
    fit(second, resume_from=path)
    assert everything(second) == everything(straight)
    other = trainer(schedule=unbound())
    with pytest.raises(CheckpointError, match=r"'epochs': 8.*'epochs': 9"):
        fit(other, resume_from=path, epochs=9)  # its cosine would be another


def test_a_schedule_in_epochs_goes_on_for_longer(tmp_path):
    path, step = tmp_path / "run.ckpt", schedule.step(0.05, 0.5, every="2 epochs")
    straight, first, second = (trainer(schedule=step) for _ in range(3))
    fit(straight)
    fit(first, epochs=3)
    first.save(path)
    fit(second, resume_from=path)
    assert everything(second) == everything(straight)
    assert straight.history["learning_rate"] == [0.05 * 0.5 ** (k // 2) for k in range(EPOCHS)]


def test_a_plateau_within_a_bound_schedule_is_told_of_the_losses():
    plateau = ReduceOnPlateau(0.02, patience=1, factor=0.5, min_delta=100.0)
    run = trainer(schedule=schedule.join([schedule.constant(0.01), plateau], ["2 epochs"]))
    history = fit(run)
    assert plateau.value < 0.02
    assert history["learning_rate"][1:3] == [0.01, history["learning_rate"][2]]
    assert run.optimizer.lr == history["learning_rate"][-1]


def test_a_callback_may_put_another_schedule_in_its_place():
    class Switch(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.trainer.schedule = schedule.constant(0.125)

    run = trainer(schedule=unbound(), callbacks=[Switch()])
    assert fit(run)["learning_rate"][1:] == [0.125] * (EPOCHS - 1)


@pytest.mark.parametrize(
    ("name", "called"), [("lr", "learning_rate"), ("weight_decay", "weight_decay")]
)
def test_an_optimizers_own_schedule_must_be_bound(name, called):
    optimizer = AdamW(0.01)
    setattr(optimizer, name, schedule.cosine(0.01, total="fit"))
    model = network()
    before = {key: array.copy() for key, array in model.arrays.items()}
    run = trainer(optimizer=optimizer, model=model)
    with pytest.raises(
        ValueError, match=rf"^Trainer\.fit: {called} .* must have lengths in steps.*schedule="
    ):
        fit(run)
    assert all(np.array_equal(before[key], model.arrays[key]) for key in before)


def test_steps_that_cannot_increase_are_refused_before_training():
    X, y = blobs(8)
    joined = schedule.join([schedule.constant(0.1)] * 3, ["0.1 epochs", "0.2 epochs"])
    run = Trainer(network(), softmax_cross_entropy, AdamW(), schedule=joined, rng=0)
    with pytest.raises(ValueError, match=r"join: boundaries must increase, got \(1, 1\)"):
        run.fit(X, y, epochs=1)
