"""Small training runs that several tests share."""

import signal

import numpy as np

import fastreg
from fastreg import Adam, BatchNorm, schedule
from fastreg.callbacks import Callback
from fastreg.nn import Dense, ReLU, Sequential, mlp, softmax_cross_entropy
from fastreg.stopping import EarlyStopping
from fastreg.train import Trainer


def blobs(n=90, seed=0):
    """Three classes around three points."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    centres = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 3.0]])
    return (centres[labels] + rng.normal(size=(n, 2))).astype(np.float32), labels


def network(seed=1, **options):
    options = {"batch_norm": True, "dropout": 0.3, "rng": seed, **options}
    return mlp([2, 8, 3], **options)


def trainer(*, model=None, loss=softmax_cross_entropy, optimizer=None, **options):
    options = {"rng": 2, "progress": False, **options}
    return Trainer(model or network(), loss, optimizer or Adam(0.02), **options)


def weights(model):
    return b"".join(array.tobytes() for array in model.arrays.values())


def everything(run):
    """All that must be equal, bit for bit; times are left out."""
    history = {k: v for k, v in run.history.items() if k not in ("seconds", "ms_per_step")}
    optimizer = {
        k: v.tobytes() if isinstance(v, np.ndarray) else v
        for k, v in run.optimizer.state_dict().items()
    }
    stopping = run.early_stopping and run.early_stopping.history
    return weights(run.model), history, optimizer, run.epoch, run.step, stopping


def full_options():
    return {
        "schedule": schedule.cosine(0.02, 40),
        "early_stopping": EarlyStopping(patience=50),
    }


def fit(run, **options):
    X, y = blobs(75)
    X_val, y_val = blobs(30, seed=6)
    options = {"epochs": 8, "batch_size": 16, "X_val": X_val, "y_val": y_val, **options}
    return run.fit(X, y, **options)


def cumulative(seed=1):
    """A network whose batch norm averages over all calls."""
    rng = np.random.default_rng(seed)
    layers = [Dense(2, 8, rng=rng, bias=False), BatchNorm(8, momentum=None), ReLU()]
    return Sequential([*layers, fastreg.Dropout(0.3, rng=seed), Dense(8, 3, rng=rng)])


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


def rising(seed=6):
    """A run whose validation loss rises: labels that say nothing of the test's."""
    options = {"early_stopping": EarlyStopping(patience=99), "model": cumulative(seed)}
    return {"optimizer": Adam(0.3), **options}
