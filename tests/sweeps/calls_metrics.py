"""Valid calls of metrics, of the history, and of the callbacks that watch a run."""

import numpy as np
from bad_values import one_of, path
from calls import add
from calls_layers import shares

from fastreg import callbacks, history, metrics

LABELS = np.array([0, 1, 1, 0])
SCORES = np.array([0.1, 0.4, 0.8, 0.5])


def judged(value):
    """Shapes and classes of two arrays decide together."""
    return None


def name(value):
    return value is None or isinstance(value, str)


for one in ("accuracy", "balanced_accuracy", "f1", "mae", "r2"):
    add(
        f"metrics.{one}",
        lambda one=one: getattr(metrics, one),
        says=one,
        also={"y_true": ("y_pred",)},
        y_true=(LABELS, judged),
        y_pred=(LABELS[::-1].copy(), judged),
        sample_weight=(np.ones(4), shares(4)),
        **({"average": ("macro", one_of("binary", "macro", none=True))} if one == "f1" else {}),
    )
for one, scores in (("auc", "y_score"), ("log_loss", "y_prob")):
    add(
        f"metrics.{one}",
        lambda one=one: getattr(metrics, one),
        says=one,
        also={"y_true": (scores,), scores: ("y_true",)},
        y_true=(LABELS, judged),
        **{scores: (SCORES, judged)},
        sample_weight=(np.ones(4), shares(4)),
    )
add(
    "metrics.Metric",
    lambda: metrics.Metric,
    says="Metric",
    function=(metrics.f1, lambda value: callable(value) and not isinstance(value, type) and None),
    name=("f1", lambda value: name(value) and (value is None or bool(value))),
    needs=("labels", one_of("labels", "probabilities", "logits")),
    mode=("max", one_of("min", "max", none=True)),
)
add(
    "metrics.Metric.__call__",
    lambda: metrics.Metric(metrics.mae),
    says="mae",
    also={"y_true": ("y_pred",)},
    y_true=(SCORES, judged),
    y_pred=(SCORES, judged),
    sample_weight=(np.ones(4), shares(4)),
)


def columns():
    return history.History({"loss": [1.0, 0.5]})


COLUMN = {"monitor": ("loss", one_of("loss", none=True)),
          "mode": ("min", one_of("min", "max", none=True))}  # fmt: skip
add(
    "history.History",
    lambda: history.History,
    says="History",
    columns=({"loss": [1.0]}, lambda value: value is None or isinstance(value, dict)),
    monitor=("loss", name),
    mode=("min", one_of("min", "max")),
)
add("history.History.best_epoch", lambda: columns().best_epoch, says="History", **COLUMN)
add(
    "BestCheckpoint",
    lambda: callbacks.BestCheckpoint,
    path=("best.ckpt", path),
    monitor=("val_loss", name),
    mode=("min", one_of("min", "max", none=True)),
)
add("CSVLogger", lambda: callbacks.CSVLogger, path=("run.csv", path))


class Trial:
    """What a callback needs of an Optuna trial."""

    report = should_prune = print


add(
    "OptunaPruning",
    lambda: callbacks.OptunaPruning,
    trial=(Trial(), lambda value: isinstance(value, Trial)),
    monitor=("val_loss", name),
)
