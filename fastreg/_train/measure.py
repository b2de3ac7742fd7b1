"""Metrics of a run: which there are, what each is given, and which entry of an epoch is watched."""

from __future__ import annotations

import functools
import inspect
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastreg import metrics
from fastreg._core.checks import choice, is_number, sequence, shown
from fastreg.metrics import Metric
from fastreg.nn.links import exponential, sigmoid, softmax

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastreg._core.types import Array

__all__ = [
    "NAMED",
    "check_watched",
    "direct",
    "directions",
    "gathered",
    "judge",
    "measured",
    "metrics_of",
]

CLASSES, NUMBERS = ("softmax", "sigmoid"), ("identity", "log", None)  # links of losses
NAMED: dict[str, tuple[Metric, tuple[Any, ...]]] = {
    "accuracy": (Metric(metrics.accuracy, mode="max"), CLASSES),
    "balanced_accuracy": (Metric(metrics.balanced_accuracy, mode="max"), CLASSES),
    "f1": (Metric(metrics.f1, mode="max"), CLASSES),
    "auc": (Metric(metrics.auc, needs="probabilities", mode="max"), CLASSES),
    "roc_auc": (Metric(metrics.auc, "roc_auc", needs="probabilities", mode="max"), CLASSES),
    "log_loss": (Metric(metrics.log_loss, needs="probabilities", mode="min"), CLASSES),
    "r2": (Metric(metrics.r2, mode="max"), NUMBERS),
    "mae": (Metric(metrics.mae, mode="min"), NUMBERS),
}
OWN = {metric.function: metric for metric, _ in NAMED.values() if metric.name != "roc_auc"}
#: Names of the history's own columns.
TAKEN = {"loss", "learning_rate", "gradient_norm", "weight_norm", "near_zero", "ms_per_step",
         "seconds"}  # fmt: skip
#: What a function calls its second argument says what it needs; others are given labels.
ARGUMENTS = {
    **dict.fromkeys(("y_score", "y_prob", "y_proba"), "probabilities"),
    **dict.fromkeys(("pred_decision", "y_logits", "logits"), "logits"),
}
#: Functions of scikit-learn that call probabilities y_pred.
PROBABLE = {"log_loss", "d2_log_loss_score"}
ENDINGS = {"_score": "max", "_loss": "min", "_error": "min", "_deviance": "min"}  # scikit-learn's


def metrics_of(where: str, given: Any, link: str | None) -> tuple[Metric, ...]:
    """Return metrics by name, as functions, as scorers or as `Metric`, or refuse them by place.

    Examples
    --------
    >>> metrics_of("Trainer", ["auc"], "softmax")
    (Metric(auc, 'auc', needs='probabilities', mode='max'),)
    """
    found = tuple(
        _metric_of(where, f"metrics[{i}]", one, link)
        for i, one in enumerate(sequence(where, "metrics", given, "metrics"))
    )
    names = [metric.name for metric in found]
    for name, metric in zip(names, found, strict=True):
        taken = name in TAKEN or (name == "accuracy" and metric.function is not metrics.accuracy)
        if taken or names.count(name) > 1 or name.startswith(("val_", "train_")):
            raise ValueError(
                f"{where}: metrics must have names that differ from each other and from what the "
                f"history holds, got {name!r}; give Metric(function, name)"
            )
    return found


def _metric_of(where, place, given, link):
    if isinstance(given, str):
        if given not in NAMED:
            names = ", ".join(NAMED)
            raise ValueError(f"{where}: {place} must be one of {names}, got {shown(given)}")
        metric = NAMED[given][0]
    elif isinstance(given, Metric):
        metric = given
    elif hasattr(given, "_score_func") and hasattr(given, "_sign"):
        metric = _of_scorer(given)
    elif callable(given) and not isinstance(given, type):
        own = (metric for function, metric in OWN.items() if function is given)
        metric = next(own, None) or _of_function(where, place, given)
    else:
        raise TypeError(
            f"{where}: {place} must be a name, a function or a Metric, got {shown(given)}"
        )
    links = next((links for one, links in NAMED.values() if one.function is metric.function), ())
    if links and link not in links:
        wanted = "classes" if links is CLASSES else "numbers"
        raise ValueError(
            f"{where}: {place} must fit the loss, got {metric.name!r}, which is for {wanted}, and "
            f"a loss with link {link!r}"
        )
    if metric.needs == "probabilities" and link not in CLASSES:
        raise ValueError(
            f"{where}: {place} must fit the loss, got {metric.name!r}, which needs probabilities, "
            f"and a loss with link {link!r}, which has none"
        )
    return metric


def _of_function(where, place, function):
    """What a bare function needs, by the name of its second argument."""
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    name = getattr(inner, "__name__", type(inner).__name__)
    if name == "<lambda>":
        raise ValueError(
            f"{where}: {place} must have a name for the history, got a lambda; give "
            "Metric(function, name)"
        )
    arguments = _arguments(function)
    needs = ARGUMENTS.get(arguments[1], "labels") if len(arguments) > 1 else "labels"
    if name in PROBABLE and getattr(inner, "__module__", "").startswith("sklearn."):
        needs = "probabilities"
    mode = next((mode for end, mode in ENDINGS.items() if name.endswith(end)), None)
    return Metric(function, name, needs=needs, mode=mode)


def _of_scorer(scorer):
    """A scorer of scikit-learn's: its function, its sign, and what it asks an estimator for."""
    function, sign = scorer._score_func, scorer._sign
    options = getattr(scorer, "_kwargs", {})
    response = getattr(scorer, "_response_method", "predict")
    methods = (response,) if isinstance(response, str) else tuple(response)

    def score(y_true, y_pred, **weights):
        return sign * function(y_true, y_pred, **options, **weights)

    def unweighted(y_true, y_pred):
        return score(y_true, y_pred)

    takes = "sample_weight" in _arguments(function)
    name = ("neg_" if sign < 0 else "") + getattr(function, "__name__", "score")
    needs = "labels" if methods[0] == "predict" else "probabilities"
    return Metric(score if takes else unweighted, name, needs=needs, mode="max")


def _arguments(function):
    """The names of a function's arguments; a function of another language has none to tell."""
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


def _takes_weights(function):
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in parameters)


# --- values ---------------------------------------------------------------------------------


class Views(NamedTuple):
    """Targets and outputs as metrics want them, and the number of classes."""

    y_true: Array
    labels: Array
    probabilities: Any
    logits: Array
    classes: int | None


def _views(outputs, y, link):
    n = len(outputs)
    y = np.asarray(y)
    if link == "softmax" and outputs.ndim == 2:
        y_true = y if y.ndim == 1 else y.argmax(axis=1)
        p, classes = softmax(outputs), outputs.shape[1]
        return Views(y_true, outputs.argmax(axis=1), p[:, 1] if classes == 2 else p, outputs,
                     classes)  # fmt: skip
    single = outputs.ndim == 2 and outputs.shape[1] == 1
    if single:
        outputs = outputs[:, 0]
        y = y.reshape(n) if y.size == n else y
    if link == "sigmoid":
        y_true, labels = (y > 0.5).astype(np.int64), (outputs > 0).astype(np.int64)
        return Views(y_true, labels, sigmoid(outputs), outputs, 2 if single else None)
    return Views(y, exponential(outputs) if link == "log" else outputs, None, outputs, None)


def gathered(seen: Sequence[Any]) -> tuple[Array, Array, Any]:
    """Return the outputs, targets and weights of batches as one array each.

    Examples
    --------
    >>> gathered([[np.ones((2, 1)), np.ones(2), None], [np.ones((1, 1)), np.ones(1), None]])[1]
    array([1., 1., 1.])
    """
    outputs, y, weights = (list(column) for column in zip(*seen, strict=True))
    w = None if weights[0] is None else np.concatenate(weights)
    return np.concatenate(outputs), np.concatenate(y), w


def measured(
    found: Sequence[Metric], outputs: Array, y: Array, link: str | None, weights: Any = None
) -> dict[str, float]:
    """Return the value of each metric by name; NaN where the outputs are not finite.

    Examples
    --------
    >>> outputs, y = np.array([[2.0, 1.0], [0.0, 3.0], [0.0, 1.0]]), np.array([0, 1, 0])
    >>> measured(metrics_of("Trainer", ["f1"], "softmax"), outputs, y, "softmax")
    {'f1': 0.6666666666666666}
    """
    if not found:
        return {}
    if not np.isfinite(outputs).all():
        return dict.fromkeys((metric.name for metric in found), math.nan)
    views = _views(outputs, y, link)
    if link == "log" and not np.isfinite(views.labels).all():
        return dict.fromkeys((metric.name for metric in found), math.nan)
    return {metric.name: _value(metric, views, weights) for metric in found}


def _value(metric, views, weights):
    options = {}
    if weights is not None and _takes_weights(metric.function):
        options["sample_weight"] = weights
    if metric.function is metrics.f1 and views.y_true.ndim == 1:
        options["average"] = "binary" if views.classes == 2 else "macro"
    value = metric.function(views.y_true, getattr(views, metric.needs), **options)
    if not is_number(value):
        raise TypeError(
            f"Trainer.fit: the metric {metric.name!r} must return a number, got {shown(value)}"
        )
    return float(value)


# --- what is watched ------------------------------------------------------------------------


def directions(found: Iterable[Metric], classes: bool) -> dict[str, str | None]:
    """Return what an epoch records that can be watched, and whether more or less is better.

    Examples
    --------
    >>> directions((), classes=True)["val_accuracy"]
    'max'
    """
    modes: dict[str, str | None] = {"loss": "min"}
    if classes:
        modes["accuracy"] = "max"
    modes |= {metric.name: metric.mode for metric in found}
    return modes | {f"val_{name}": mode for name, mode in modes.items()}


def direct(
    where: str, monitor: Any, mode: Any, modes: dict[str, str | None]
) -> tuple[str | None, str | None]:
    """Return the column that is watched and its direction, or refuse a name nobody records.

    Examples
    --------
    >>> direct("Trainer", "train_loss", None, directions((), classes=True))
    ('loss', 'min')
    """
    if mode is not None:
        choice(where, "mode", mode, ("min", "max"))
    if monitor is None:
        if mode is not None:
            raise ValueError(f"{where}: mode must come with a monitor, got mode={mode!r} alone")
        return None, None
    name = monitor.removeprefix("train_") if isinstance(monitor, str) else monitor
    if not isinstance(name, str) or name not in modes:
        error = ValueError if isinstance(monitor, str) else TypeError
        raise error(
            f"{where}: monitor must be one of {', '.join(modes)}, got {shown(monitor)}; other "
            "metrics are recorded if metrics= names them"
        )
    mode = mode or modes[name]
    if mode is None:
        raise ValueError(
            f"{where}: mode must be 'min' or 'max' for the monitor {name!r}, whose metric does "
            "not say which is better, got None"
        )
    return name, mode


def check_watched(where: str, name: str | None, validated: bool) -> None:
    """Refuse to watch validation data that are not there."""
    if name is not None and name.startswith("val_") and not validated:
        raise ValueError(f"{where}: monitor must be recorded, got {name!r} without X_val and y_val")


def judge(
    where: str, y_name: str, found: Sequence[Metric], outputs: Array, y: Array, link: str | None,
    watched: str | None, weights: Any = None,
) -> None:  # fmt: skip
    """Try metrics on untrained outputs, so that those that fail do so before the training."""
    for metric in found:
        try:
            value = measured([metric], outputs, y, link, weights)[metric.name]
        except Exception as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(
                f"{where}: metrics must fit the data, {metric.name!r} fails on {y_name}: {error}"
            ) from error
        if (
            watched in (metric.name, f"val_{metric.name}")
            and math.isnan(value)
            and np.isfinite(outputs).all()
        ):
            raise ValueError(
                f"{where}: monitor must have a value on {y_name}, got nan from {metric.name!r}; "
                "is there only one class?"
            )
