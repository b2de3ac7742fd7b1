"""What a network's outputs mean under a loss: checks of data, accuracy, probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core.arrays import real
from fastreg._core.checks import shown
from fastreg.nn.links import sigmoid, softmax
from fastreg.nn.targets import (
    check_probabilities,
    link_of,
    option_of,
    rows_right,
    shares,
    weights,
)

if TYPE_CHECKING:
    from fastreg._core.types import Array, Data, MaybeArray

__all__ = [
    "accuracy",
    "check_alike",
    "check_model",
    "check_part",
    "check_table",
    "check_weight",
    "check_weights",
    "counted",
    "link_of",
    "loss_of",
    "outputs_of",
    "probabilities",
    "weightless",
]

ROWS = 4096  # evaluated together: enough to be fast, little enough to stay in cache


def outputs_of(model: Any, X: Array) -> Array:
    """Return a model's outputs in evaluation mode, computed some thousand rows at a time.

    Examples
    --------
    >>> from fastreg.nn import mlp
    >>> outputs_of(mlp([3, 2], rng=0), np.zeros((5, 3), np.float32)).shape
    (5, 2)
    """
    model.eval()
    forward = getattr(model, "_infer", model.forward)
    if len(X) <= ROWS:
        return forward(X)
    first = forward(X[:ROWS])
    outputs = np.empty((len(X), *first.shape[1:]), first.dtype)
    outputs[:ROWS] = first
    for start in range(ROWS, len(X), ROWS):
        outputs[start : start + ROWS] = forward(X[start : start + ROWS])
    return outputs


def accuracy(outputs: Array, y: Array, link: str | None) -> float | None:
    """Return the share of rows whose class is predicted correctly; None without classes.

    Examples
    --------
    >>> accuracy(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0]), "softmax")
    0.5
    """
    right = rows_right(outputs, np.asarray(y), link)
    return None if right is None else float(right / len(outputs))


def probabilities(outputs: Array, link: str | None) -> Array:
    """Return class probabilities of shape (N, K); a single logit gives two classes.

    Examples
    --------
    >>> probabilities(np.array([[0.0]]), "sigmoid").tolist()
    [[0.5, 0.5]]
    """
    if link == "softmax":
        return softmax(outputs)
    if link != "sigmoid":
        raise TypeError(
            "Trainer.predict_proba: loss must be a cross-entropy for outputs to be probabilities; "
            "use predict"
        )
    if outputs.shape[1] == 1:  # not 1 - p, which would lose the digits of a small probability
        outputs = np.hstack([-outputs, outputs])
    return sigmoid(outputs)


def check_model(where: str, model: Any) -> None:
    """Refuse anything but a network.

    Examples
    --------
    >>> from fastreg.nn import mlp
    >>> check_model("evaluate", mlp([2, 2], rng=0))
    """
    for method in ("forward", "backward", "train", "eval"):
        check_part(where, "model", model, method)


def check_part(where: str, name: str, part: Any, method: Any, *, optional: bool = False) -> None:
    """Refuse an object of the wrong kind, or its class, before anything is trained.

    Examples
    --------
    >>> check_part("Trainer", "loss", print, "__call__")
    """
    if optional and part is None:
        return
    iterable = method == "update" and hasattr(part, "__iter__")  # a dict has update, too
    if isinstance(part, type) or iterable or not hasattr(part, method):
        kind = {"__call__": "callable", "__iter__": "a sequence"}.get(method, f"with {method}()")
        raise TypeError(f"{where}: {name} must be {kind}, got {shown(part)}")


def loss_of(where: str, loss: Any, outputs: Array, y: Any, options: Any) -> Any:
    """Return what a loss returns, if it is the value and the gradient.

    Examples
    --------
    >>> from fastreg.nn import mse
    >>> loss_of("fit", mse, np.ones((1, 1)), np.zeros((1, 1)), {})
    (1.0, array([[2.]]))
    """
    result = loss(outputs, y, **options)
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"{where}: loss must return (value, gradient), got {shown(result)}")
    return result


def check_table(
    where: str, X_name: Any, X: Any, y_name: Any, y: Any, model: Any, loss: Any
) -> tuple[Array, Any]:
    """Return X in the model's dtype and y as an array, or refuse them by name.

    ``y_name`` None asks for no targets.

    Examples
    --------
    >>> from fastreg.nn import mlp, softmax_cross_entropy
    >>> data = [[1, 2], [3, 4]], "y", [0, 1]
    >>> X, y = check_table("fit", "X", *data, mlp([2, 2], rng=0), softmax_cross_entropy)
    >>> X.dtype, y.dtype
    (dtype('float32'), dtype('int64'))
    """
    if y_name and (X is None or y is None):
        missing = X_name if X is None else y_name
        raise ValueError(f"{where}: {X_name} and {y_name} must come together, got no {missing}")
    X = real(where, X_name, X)
    if X.ndim < 2 or not len(X):
        raise ValueError(
            f"{where}: {X_name} must have one row per sample and at least one, got shape {X.shape}"
        )
    n_in, n_out = getattr(model, "n_in", None), getattr(model, "n_out", None)
    if n_in is not None and X.ndim == 2 and X.shape[1] != n_in:
        raise ValueError(f"{where}: {X_name} must have {n_in} features, got {X.shape[1]}")
    X = np.ascontiguousarray(X, getattr(model, "dtype", None))
    if y_name is None:
        return X, None
    y = real(where, y_name, y)
    if y.ndim < 1 or len(y) != len(X):
        raise ValueError(
            f"{where}: {X_name} and {y_name} must have one row per sample, got lengths {len(X)} "
            f"and {len(y) if y.ndim else 'none'}"
        )
    link = link_of(loss)
    if link == "softmax":
        _check_classes(where, y_name, y, n_out, option_of(loss, "ignore_index"))
    elif link is not None:
        _check_values(where, y_name, y, n_out, link)
    return X, y


def check_weights(where: str, sample_weight: Data, n: int) -> Any:
    """Return sample weights as float64, or None, or refuse them by name.

    Examples
    --------
    >>> check_weights("fit", [1, 2], 2)
    array([1., 2.])
    """
    found = weights(where, "sample_weight", sample_weight, n)
    shares(where, "sample_weight", found)
    return found


def counted(
    where: str, name: str, X: Array, y: Array, sample_weight: MaybeArray, loss: Any
) -> tuple[Array, Array, MaybeArray]:
    """Return the rows that take part: that have a weight, and a label that is not ignored.

    Examples
    --------
    >>> from functools import partial
    >>> from fastreg.nn import softmax_cross_entropy
    >>> loss = partial(softmax_cross_entropy, ignore_index=-1)
    >>> counted("fit", "y", np.eye(2), np.array([1, -1]), None, loss)[1]
    array([1])
    """
    ignored = option_of(loss, "ignore_index") if y.ndim == 1 else None
    kept = None if sample_weight is None else sample_weight > 0
    if ignored is not None:
        kept = (y != ignored) & (True if kept is None else kept)
        if not kept.any():
            raise ValueError(
                f"{where}: {name} must have a sample whose label is not {ignored}, which the loss "
                "ignores"
            )
    if kept is None or kept.all():
        return X, y, sample_weight
    return X[kept], y[kept], None if sample_weight is None else sample_weight[kept]


def check_weight(
    where: str, name: str, y: Any, model: Any, loss: Any, sample_weight: Any = None
) -> None:
    """Refuse targets that have no weight under a loss's class weights: there is no mean of them.

    Examples
    --------
    >>> from functools import partial
    >>> from fastreg.nn import mlp, softmax_cross_entropy
    >>> loss = partial(softmax_cross_entropy, class_weights=[0.0, 1.0])
    >>> check_weight("fit", "y", np.array([0, 1]), mlp([2, 2], rng=0), loss)
    """
    n_out = getattr(model, "n_out", None)
    of_classes = option_of(loss, "class_weights")
    if of_classes is None or n_out is None or link_of(loss) != "softmax":
        return
    found = weights(where, "class_weights", of_classes, n_out)
    by_row = found[y] if y.ndim == 1 else y @ found
    by_row = by_row if sample_weight is None else by_row * sample_weight
    if not by_row.any():
        raise weightless(where, name)


def weightless(where: str, name: str) -> ValueError:
    """Return the error of targets that have no mean, because none of them has a weight."""
    return ValueError(
        f"{where}: {name} must have a sample whose weight is above 0, all weigh 0 under the loss"
    )


def check_alike(where: str, X: Any, y: Any, X_val: Any, y_val: Any) -> None:
    """Refuse validation data whose samples or targets are not shaped as those for training."""
    if X.shape[1:] != X_val.shape[1:]:
        wanted, got = X.shape[1:], X_val.shape[1:]
        raise ValueError(f"{where}: X_val must have samples of shape {wanted}, as X, got {got}")
    wanted, got = (() if shape == (1,) else shape for shape in (y.shape[1:], y_val.shape[1:]))
    if wanted != got:
        raise ValueError(f"{where}: y_val must have targets of shape {wanted}, as y, got {got}")


def _check_values(where, name, y, n_out, link):
    shapes = [(len(y), n_out)] + [y.shape[:1]] * (n_out == 1)
    if n_out is not None and y.shape not in shapes:
        raise ValueError(f"{where}: {name} must have shape {shapes[0]}, got {y.shape}")
    low, high = {"sigmoid": (0, 1), "log": (0, np.inf)}.get(link, (-np.inf, np.inf))
    if link != "identity" and not (y.min() >= low and y.max() <= high):
        raise ValueError(f"{where}: {name} must be from {low} to {high}, got {y.min()} … {y.max()}")


def _check_classes(where, name, y, n_classes, ignored):
    if y.ndim == 2 and y.shape[1] == n_classes:
        check_probabilities(where, name, y)
        return
    if y.dtype.kind not in "iu":
        raise TypeError(f"{where}: {name} must be integers, got {y.dtype}; number the classes")
    if y.ndim != 1:
        raise ValueError(f"{where}: {name} must be one class per row, got shape {y.shape}")
    if ignored is not None:
        y = y[y != ignored]
    if n_classes is not None and len(y) and (y.min() < 0 or y.max() >= n_classes):
        wrong = y.min() if y.min() < 0 else y.max()
        raise ValueError(f"{where}: {name} must be from 0 to {n_classes - 1}, got {wrong}")
