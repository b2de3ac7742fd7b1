"""Predictions, probabilities and evaluation of a model under its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._train.mean import weight_of
from fastreg._train.predict import (
    accuracy,
    check_model,
    check_part,
    check_table,
    counted,
    loss_of,
    outputs_of,
    probabilities,
    weightless,
)
from fastreg._train.source import is_source, reader_of
from fastreg.nn.links import exponential
from fastreg.nn.losses import loss_named
from fastreg.nn.targets import NoWeightError, link_of

if TYPE_CHECKING:
    from fastreg._core.types import Array, Data, LossLike

__all__ = ["Predictor", "evaluate"]


def evaluate(model: Any, loss: LossLike, X: Data, y: Data = None) -> tuple[float, float | None]:
    """Return the loss and the accuracy of a model on labelled data, in evaluation mode.

    Parameters
    ----------
    model : Sequential
        Left in evaluation mode.
    loss : callable or str
        As for `Trainer`.
    X, y : ndarray of shape (N, n_features), array with N rows
        Data and targets. Without y, X is a source, as for `Trainer.fit`: it is read in bounded
        memory, and its rows count by their weights, if it has weights.

    Returns
    -------
    loss : float
        The mean over all rows.
    accuracy : float or None
        The share of rows whose class is predicted correctly, from 0 to 1; None if the outputs are
        not classes.

    Raises
    ------
    TypeError, ValueError
        Bad data, by name; rows that all weigh 0 under the loss's ``class_weights`` have no mean.

    Examples
    --------
    >>> from fastreg.nn import mlp, softmax_cross_entropy
    >>> model = mlp([2, 2], rng=0)
    >>> model.layers[0].W[:] = 200 * np.eye(2)
    >>> evaluate(model, softmax_cross_entropy, np.eye(2), np.array([0, 1]))
    (0.0, 1.0)
    """
    check_model("evaluate", model)
    loss = loss_named("evaluate", loss)
    check_part("evaluate", "loss", loss, "__call__")
    return Predictor(model, loss)._judge("evaluate", X, y)


class Predictor:
    """A model and its loss: predictions, probabilities and evaluation.

    Parameters
    ----------
    model : Sequential
        Put in evaluation mode by every call.
    loss : callable
        It determines what the outputs are: with a cross-entropy they are classes.

    Examples
    --------
    >>> from fastreg.nn import mlp, softmax_cross_entropy
    >>> model = mlp([2, 2], rng=0)
    >>> model.layers[0].W[:] = np.eye(2)
    >>> Predictor(model, softmax_cross_entropy).predict([[0, 1], [1, 0]])
    array([1, 0])
    """

    loss: Any
    model: Any

    def __init__(self, model: Any, loss: Any) -> None:
        self.model, self.loss = model, loss

    def evaluate(self, X: Data, y: Data = None) -> tuple[float, float | None]:
        """Return the loss and the accuracy on labelled data, as the function `evaluate` does.

        Without y, X is a source, as for `fit`.
        """
        return self._judge("Trainer.evaluate", X, y)

    def _judge(self, where, X, y):
        """Loss and accuracy of arrays or of a source."""
        if y is None and is_source(X):
            return self._evaluate_all(where, "X", reader_of(where, self, "X", X))
        X, y = check_table(where, "X", X, "y", y, self.model, self.loss)
        return self._evaluate(where, "y", X, y, {})

    def predict(self, X: Data) -> Array:
        """Return each row's class, or number where the outputs are not classes.

        A number is the output itself, or its exponential where the loss's link is "log".

        The shape is (N,) for a class or one output per row, (N, K) for K outputs. The outputs have
        the bits of ``model.forward`` in evaluation mode: batch norm is applied in place, not folded
        into the weights, which would round differently (`BatchNorm.fold_into` does that).
        """
        outputs = self._outputs("Trainer.predict", X)
        link = link_of(self.loss)
        if link == "softmax":
            return outputs.argmax(axis=1)
        if link == "sigmoid":
            outputs = (outputs > 0).astype(np.int64)
        elif link == "log":
            outputs = exponential(outputs)
        return outputs[:, 0] if outputs.ndim == 2 and outputs.shape[1] == 1 else outputs

    def predict_proba(self, X: Data) -> Array:
        """Return each row's class probabilities, of shape (N, K).

        Raises
        ------
        TypeError
            If the loss is not a cross-entropy, so that the outputs give no probabilities.
        """
        return probabilities(self._outputs("Trainer.predict_proba", X), link_of(self.loss))

    def _outputs(self, where, X):
        X, _ = check_table(where, "X", X, None, None, self.model, self.loss)
        return outputs_of(self.model, X)

    def _evaluate(self, where, name, X, y, options, seen=None):
        """Loss and accuracy of rows; ``seen`` is a list for outputs, targets and weights."""
        if not options:
            X, y, _ = counted(where, name, X, y, None, self.loss)
        outputs = outputs_of(self.model, X)
        if seen is not None:
            seen.append([np.array(outputs), np.array(y), options.get("sample_weight")])
        try:
            value, _ = loss_of(where, self.loss, outputs, y, options)
        except NoWeightError as error:
            raise weightless(where, name) from error
        return value, accuracy(outputs, y, link_of(self.loss))

    def _evaluate_all(self, where, name, feed, seen=None):
        """`_evaluate` of all rows; of pieces of them the means, by weight and by rows."""
        if feed.whole:
            X, y, options = next(feed.pieces())
            if not len(X):
                raise weightless(where, name)
            return self._evaluate(where, name, X, y, options, seen)
        total, weight, rows = 0.0, 0.0, 0
        right: Any = 0.0
        for X, y, options in feed.pieces():
            own = weight_of(self.loss, y, options)
            if own:
                value, found = self._evaluate(where, name, X, y, options, seen)
                total, weight, rows = total + value * own, weight + own, rows + len(X)
                right = None if found is None else right + found * len(X)
        if not weight:
            raise weightless(where, name)
        return total / weight, None if right is None else right / rows
