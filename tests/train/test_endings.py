"""The best weights are there, however training ended."""

import numpy as np
import pytest
from runs import (
    Best,
    diverge,
    everything,
    fail,
    fit,
    press,
    press_twice,
    rising,
    stop,
    trainer,
    weights,
)

from fastreg.callbacks import Callback
from fastreg.stopping import EarlyStopping

ENDS = {
    "epochs done": (None, None),
    "callback": (stop, None),
    "interrupt": (press, None),
    "second interrupt": (press_twice, KeyboardInterrupt),
    "exception": (fail, RuntimeError),
    "not finite": (diverge, FloatingPointError),
}


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
