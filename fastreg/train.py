"""The training loop: mini-batches from one seed, a history, evaluation mode whenever it stops."""

import statistics
import time

import numpy as np

from fastreg._checks import integer
from fastreg.nn import generator

__all__ = ["evaluate", "fit"]


def fit(model, loss, optimizer, X, y, *, X_val=None, y_val=None, epochs, batch_size=64, rng=None):
    """Train a model by mini-batches and return the history of the run.

    Two calls of one epoch are one call of two, if the same Generator is given to both.

    Parameters
    ----------
    model : Sequential
        Changed in place; left in evaluation mode, even by an exception or Ctrl-C.
    loss : callable
        ``loss(outputs, targets) -> (value, gradient)``, such as
        `fastreg.nn.softmax_cross_entropy`.
    optimizer : object
        Anything with ``update(params, grads)`` on name-keyed dicts of arrays.
    X, y : ndarray of shape (N, n_features), ndarray of shape (N,)
        Training data; y holds classes from 0.
    X_val, y_val : ndarray, keyword-only
        Validation data, given together or not at all.
    epochs : int, keyword-only
        Passes over the training data, at least 1.
    batch_size : int, keyword-only
        Samples a step, at least 1; the last batch of an epoch takes what is left.
    rng : anything `numpy.random.default_rng` takes, keyword-only
        Source of every epoch's order; left out, NumPy's global state.

    Returns
    -------
    history : dict of list of float
        ``loss`` and ``accuracy`` (and ``val_loss``, ``val_accuracy``) after each epoch, as
        `evaluate` finds them; ``ms_per_step``, the epoch's median time of a training step
        (forward, loss, backward, update) in milliseconds.

    Raises
    ------
    TypeError
        A count that is not an integer.
    ValueError
        A count below 1, no data, data and labels of different lengths, or only one of
        ``X_val`` and ``y_val``.

    Examples
    --------
    >>> from fastreg.nn import Dense, Sequential, softmax_cross_entropy
    >>> from fastreg.reference import Adam
    >>> X, y = np.array([[-1.0], [1.0]]), np.array([0, 1])
    >>> model = Sequential([Dense(1, 2, rng=0, dtype=np.float64)])
    >>> fit(model, softmax_cross_entropy, Adam(0.1), X, y, epochs=50, rng=0)["accuracy"][-1]
    1.0
    """
    epochs = integer("fit", "epochs", epochs, low=1)
    batch_size = integer("fit", "batch_size", batch_size, low=1)
    _check_pair("X", X, "y", y)
    if X_val is not None or y_val is not None:
        _check_pair("X_val", X_val, "y_val", y_val)
    rng = generator(rng)
    history = {}
    for _ in range(epochs):
        epoch = {"ms_per_step": _train_epoch(model, loss, optimizer, X, y, batch_size, rng)}
        epoch["loss"], epoch["accuracy"] = evaluate(model, loss, X, y)
        if X_val is not None:
            epoch["val_loss"], epoch["val_accuracy"] = evaluate(model, loss, X_val, y_val)
        for key, value in epoch.items():
            history.setdefault(key, []).append(value)
    return history


def evaluate(model, loss, X, y):
    """Return the loss and the accuracy of a model on labelled data, in evaluation mode.

    Parameters
    ----------
    model : Sequential
        Left in evaluation mode.
    loss : callable
        As for `fit`.
    X, y : ndarray of shape (N, n_features), ndarray of shape (N,)
        Data and classes.

    Returns
    -------
    loss, accuracy : float
        The value of the loss, and the share of rows whose largest output is that of their
        class, from 0 to 1.

    Examples
    --------
    >>> from fastreg.nn import Dense, Sequential, softmax_cross_entropy
    >>> model = Sequential([Dense(2, 2, rng=0, dtype=np.float64)])
    >>> model.layers[0].W[:] = 100 * np.eye(2)
    >>> evaluate(model, softmax_cross_entropy, np.eye(2), np.array([0, 1]))
    (0.0, 1.0)
    """
    model.eval()
    outputs = model.forward(X)
    value, _ = loss(outputs, y)
    return value, float(np.mean(outputs.argmax(axis=1) == y))


def _train_epoch(model, loss, optimizer, X, y, batch_size, rng):
    """Take one pass over the data in a new order; return the median step in milliseconds."""
    order = rng.permutation(len(X))
    seconds = []
    model.train()
    try:
        for start in range(0, len(X), batch_size):
            batch = order[start : start + batch_size]
            X_batch, y_batch = X[batch], y[batch]
            begin = time.perf_counter()
            _, gradient = loss(model.forward(X_batch), y_batch)
            model.backward(gradient)
            optimizer.update(model.params, model.grads)
            seconds.append(time.perf_counter() - begin)
    finally:
        model.eval()
    return 1e3 * statistics.median(seconds)


def _check_pair(X_name, X, y_name, y):
    """Refuse data without labels, labels without data, and lengths that differ."""
    if X is None or y is None:
        missing = X_name if X is None else y_name
        raise ValueError(f"fit: {X_name} and {y_name} must come together, got no {missing}")
    if not len(X) or len(X) != len(y):
        raise ValueError(
            f"fit: {X_name} and {y_name} must have one row a sample and as many labels, got "
            f"lengths {len(X)} and {len(y)}"
        )
