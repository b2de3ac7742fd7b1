"""Small training runs that several tests share."""

import numpy as np

from fastreg import Adam, schedule
from fastreg.nn import mlp, softmax_cross_entropy
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
