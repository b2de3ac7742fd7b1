"""A step and a load happen whole or not at all, whatever fails or interrupts them."""

import contextlib
import functools
import signal

import harness
import pytest
from runs import (
    Adam,
    Best,
    cumulative,
    everything,
    fit,
    press,
    press_twice,
    rising,
    trainer,
    weights,
)

from fastreg._train import loop
from fastreg.callbacks import Callback
from fastreg.nn import softmax_cross_entropy


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


class Keeper(Callback):
    """Counts steps and epochs in a state; Ctrl-C is pressed while it is told of one."""

    def __init__(self, hook=None, within=0):
        self.hook, self.within, self.seen = hook, within, 0

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]

    def on_train_batch_end(self, batch, logs=None):
        self.told("batch", 1)

    def on_epoch_end(self, epoch, logs=None):
        self.told("epoch", 1000)

    def told(self, hook, count):
        for _ in range(self.within * (hook == self.hook and self.trainer.step >= 10)):
            press(None)
        self.seen += count


@pytest.mark.parametrize("hook", ["batch", "epoch"])
def test_the_second_ctrl_c_waits_for_callbacks_with_a_state(hook, tmp_path):
    run = trainer(callbacks=[Keeper(hook, within=2)])
    with pytest.raises(KeyboardInterrupt):
        fit(run)
    assert run.callbacks[0].seen == run.step + 1000 * run.epoch > 10
    run.save(tmp_path / "run.ckpt")
    whole, other = trainer(callbacks=[Keeper()]), trainer(callbacks=[Keeper()])
    fit(whole)
    fit(other, resume_from=tmp_path / "run.ckpt")
    assert everything(other) == everything(whole)
    assert other.callbacks[0].seen == whole.callbacks[0].seen == whole.step + 1000 * whole.epoch


@pytest.mark.parametrize("hook", ["batch", "epoch"])
def test_what_a_third_ctrl_c_leaves_of_a_callbacks_state_is_not_saved(hook, tmp_path):
    run = trainer(callbacks=[Keeper(hook, within=3)])
    with pytest.raises(KeyboardInterrupt):
        fit(run)
    with pytest.raises(RuntimeError, match="a callback that keeps a state was interrupted"):
        run.save(tmp_path / "run.ckpt")
    run.callbacks[0].within = 0
    fit(run)
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
