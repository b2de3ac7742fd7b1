"""`MLPClassifier`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import _fit_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, InvalidParameterError, StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import check_is_fitted

from fastreg.sklearn import rows
from fastreg.sklearn.estimator import Multilayer, Real
from fastreg.sklearn.losses import log_responses, responses
from fastreg.sklearn.versions import ClassifierMixin

if TYPE_CHECKING:
    from fastreg._core.types import Array, Data

__all__ = ["MLPClassifier"]


class MLPClassifier(ClassifierMixin, Multilayer):
    """Multi-layer perceptron classifier: scikit-learn's, with dropout, norms and schedules.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(100,)
        Widths of the hidden layers.
    activation : {"identity", "logistic", "tanh", "relu"}, default="relu"
        Of the hidden layers.
    solver : {"lbfgs", "sgd", "adam"}, default="adam"
        SciPy's L-BFGS on all data at once, gradient descent with momentum, or Adam.
    alpha : float, default=0.0001
        L2 penalty of the weights, divided by the number of samples of a batch.
    batch_size : int or "auto", default="auto"
        Samples per step; "auto" is ``min(200, n_samples)``.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        How "sgd" changes its rate: not at all, by ``power_t`` after each epoch, or to a fifth each
        time that training does not improve for two epochs.
    learning_rate_init : float, default=0.001
        The first rate.
    power_t : float, default=0.5
        Exponent of "invscaling".
    max_iter : int, default=200
        Epochs, or iterations of "lbfgs", at most.
    shuffle : bool, default=True
        Whether each epoch has another order.
    random_state : int, RandomState instance, default=None
        Source of weights, validation split, order and dropout; the weights and the order are those
        that scikit-learn draws from it.
    tol : float, default=1e-4
        Improvement that counts.
    verbose : bool, default=False
        Whether to print each epoch.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights that there are.
    momentum, nesterovs_momentum : float, default=0.9, and bool, default=True
        Of "sgd".
    early_stopping : bool, default=False
        Whether to stop by the score of validation data, and to keep the best weights.
    validation_fraction : float, default=0.1
        The share of the training data that is set aside for it.
    beta_1, beta_2, epsilon : float, default=0.9, 0.999 and 1e-8
        Of Adam and its relatives.
    n_iter_no_change : int, default=10
        Epochs without improvement after which training stops.
    max_fun : int, default=15000
        Calls of the loss by "lbfgs" at most.
    dropout : float or sequence of float, default=0.0, keyword-only
        Rate of the units of every hidden layer, or one rate for each of these layers.
    input_dropout : float, default=0.0, keyword-only
        Rate of the features.
    norm : {"batch", "layer"}, default=None, keyword-only
        Normalisation before each hidden activation. Its shift takes the place of the layer's
        biases, which are 0 in ``intercepts_``.
    optimizer : str or fastreg.Optimizer, default=None, keyword-only
        In place of the solver's rule: the name of a class in lower case, such as "adamw", which
        then has ``learning_rate_init``; or an object, of which each training takes a copy.
    schedule : str or callable, default=None, keyword-only
        The rate of each step: a name of `fastreg.schedule`, such as "cosine", which then begins
        with ``learning_rate_init`` and ends with the last epoch; or a function of the step,
        whose lengths may be of the training: ``cosine(0.01, total="fit")``.
    weight_decay : float, default=None, keyword-only
        Decoupled decay of weights; None is the optimizer's own default.
    lambda_l1 : float, default=0.0, keyword-only
        L1 penalty of the weights, by its proximal operator, which reaches exact zeros.
    max_norm : float, default=None, keyword-only
        Largest norm of the weights into a unit.
    clip_norm : float, default=None, keyword-only
        Largest norm of all gradients together.
    label_smoothing : float, default=0.0, keyword-only
        The share of each target that is spread evenly over the classes.
    class_weight : dict, "balanced" or list of them, default=None, keyword-only
        Weights of the classes, as `sklearn.utils.class_weight.compute_sample_weight` takes them.
    scoring : str or callable, default=None, keyword-only
        What ``validation_scores_`` and early stopping go by: None is accuracy, "loss" the negative
        loss of the validation data, anything else a scorer of scikit-learn.
    ema_decay : float, default=None, keyword-only
        Decay per step of a moving average of the weights; predictions and scores are those of the
        averages.
    callbacks : sequence of fastreg.callbacks.Callback, default=None, keyword-only
        Told of steps and epochs; ``callback.trainer`` is a `fastreg.sklearn.training.Run`.
    dtype : {"float32", "float64"}, default=None, keyword-only
        Of arithmetic and weights. None is that of X, as in scikit-learn; but float64 data of which
        float32 holds every value exactly (pixels, counts, truth values) are trained on by
        `fit` in float32, which loses nothing of them and is twice as fast, and the weights are then
        converted.

    Attributes
    ----------
    classes_ : ndarray, or list of ndarray
        The classes, in the order of `predict_proba`'s columns.
    loss_, best_loss_ : float
        The last and the least loss; the latter is None with early stopping.
    loss_curve_ : list of float
        The loss of each epoch.
    validation_scores_, best_validation_score_ : list of float, float
        Of the validation data; None without.
    t_ : int
        Samples seen by the solver.
    coefs_, intercepts_ : list of ndarray
        Weights of shape (n_in, n_out) and biases of each layer.
    network_ : fastreg.nn.Sequential
        The fitted network, whose outputs are before the last activation; `fastreg.export` takes it.
    n_features_in_, n_iter_, n_layers_, n_outputs_ : int
    feature_names_in_ : ndarray of str
        If X had names.
    out_activation_ : str
        The activation of the last layer.

    Notes
    -----
    With the same `random_state`, data of the same dtype and scikit-learn's arguments alone, loss
    curve, weights and predictions are those of scikit-learn up to rounding. A sample of weight 0
    takes no part, as if it were not there. A file keeps the weights; the state of the optimizer is
    kept with them after `partial_fit` alone.

    References
    ----------
    Pedregosa et al., "Scikit-learn: machine learning in Python", JMLR 12, 2011.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((16,), dropout=0.1, optimizer="adamw", max_iter=100,
    ...                       learning_rate_init=0.01, schedule="cosine", random_state=0)
    >>> bool(model.fit(X, y).score(X, y) > 0.95)
    True
    """

    loss = "log_loss"
    class_weight: Any
    classes_: Any
    _parameter_constraints: dict[str, Any] = {
        **Multilayer._parameter_constraints,
        "label_smoothing": [Interval(Real, 0, 1, closed="both")],
        "class_weight": [StrOptions({"balanced"}), dict, list, None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: Any = 0.0,
        input_dropout: float = 0.0,
        norm: str | None = None,
        optimizer: Any = None,
        schedule: Any = None,
        weight_decay: float | None = None,
        lambda_l1: float = 0.0,
        max_norm: float | None = None,
        clip_norm: float | None = None,
        label_smoothing: float = 0.0,
        class_weight: Any = None,
        scoring: Any = None,
        ema_decay: float | None = None,
        callbacks: Any = None,
        dtype: Any = None,
    ) -> None:
        given = locals()
        for name in self._get_param_names():
            setattr(self, name, given[name])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    @available_if(lambda est: est._is_stochastic())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Data, y: Data, sample_weight: Data = None, classes: Data = None
    ) -> MLPClassifier:
        """Go once over these data.

        Parameters
        ----------
        X, y, sample_weight : array-like
            As for `fit`.
        classes : array-like of shape (n_classes,), default=None
            All classes that there will be; the first call needs them.

        Returns
        -------
        self : object
        """
        if _check_partial_fit_first_call(self, classes):
            is_multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer = LabelBinarizer().fit(y if is_multilabel else classes)
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Data) -> Array:
        """Return the likeliest class of each row, or the labels that are likelier than not.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        check_is_fitted(self)
        Z = self._outputs(X)
        if self.out_activation_ == "softmax":
            return self.classes_[Z.argmax(axis=1)]
        if self._label_binarizer.y_type_ == "binary" and len(self.classes_) == 2:
            return self.classes_[(Z[:, 0] > 0).astype(np.intp)]
        found = responses(Z, "logistic")
        if self.n_outputs_ == 1:
            found = found[:, 0]
        labels: Any = self._label_binarizer.inverse_transform(found)  # sparse if y was
        return labels

    def predict_proba(self, X: Data) -> Array:
        """Return the probability of each class, in the order of ``classes_``.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        p : ndarray of shape (n_samples, n_classes)
            Of the dtype of ``coefs_``: float64 unless X of `fit` was float32 or `dtype` says so.
            Where there are more than two classes each row sums to 1; of several labels each
            column is the probability of one label, as in scikit-learn.
        """
        check_is_fitted(self)
        return responses(self._both(self._outputs(X)), self.out_activation_)

    def predict_log_proba(self, X: Data) -> Array:
        """Return the logarithms of `predict_proba`, finite where a probability rounds to 0.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        log_p : ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        return log_responses(self._both(self._outputs(X)), self.out_activation_)

    def _both(self, Z):
        """A column for each of two classes, whose odds are each other's inverse."""
        return np.hstack([-Z, Z]) if self.n_outputs_ == 1 else Z

    def _out_activation(self):
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _checked(self, X, y, reset):
        X, y = rows.checked(self, X, y, reset=reset, multi_output=True)
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _targets(self, y, first, incremental):
        """Numbers of classes for a softmax, else a column of truth values for each output."""
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            classes = unique_labels(y)
            if self.warm_start and not incremental:
                if set(classes) != set(self.classes_):
                    raise ValueError(
                        "warm_start can only be used where `y` has the same classes as in the "
                        f"previous call to fit. Previously got {self.classes_}, `y` has {classes}"
                    )
            elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
                raise ValueError(
                    f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. "
                    f"'y' has {classes}."
                )
        if self._label_binarizer.y_type_ == "multiclass" and y.ndim == 1:
            return np.searchsorted(self.classes_, y).astype(np.int64)
        found = self._label_binarizer.transform(y)
        found = found.toarray() if hasattr(found, "toarray") else found
        return found.astype(bool)

    def _stratify(self, targets):
        return targets.astype(bool) if targets.ndim == 2 and targets.shape[1] == 1 else None

    def _weighted(self, y, sample_weight):
        """Weights of samples times those of their classes."""
        if self.class_weight is None:
            return sample_weight
        y = y.toarray() if hasattr(y, "toarray") else y
        if self.class_weight == "balanced":
            by_class = _balanced(y, sample_weight)
        else:
            try:
                by_class = compute_sample_weight(self.class_weight, y)
                wrong = "" if np.isfinite(by_class).all() and by_class.min() >= 0 else "NaN or < 0"
            except (LookupError, TypeError, ValueError) as error:
                wrong = str(error)
            if wrong:
                raise InvalidParameterError(
                    f"The 'class_weight' parameter of {type(self).__name__} must have a finite "
                    f"weight of at least 0 for every class. Got {self.class_weight!r} instead: "
                    f"{wrong}"
                )
        return by_class if sample_weight is None else sample_weight * by_class


def _balanced(y, sample_weight):
    """Factors that give every class of an output the same weight in all; samples keep theirs."""
    factors = np.ones(len(y))
    for column in y.reshape(len(y), -1).T:
        classes, numbers = np.unique(column, return_inverse=True)
        sums = np.bincount(numbers, sample_weight, len(classes))
        share = sums.sum() / np.count_nonzero(sums)
        factors *= np.divide(share, sums, out=np.zeros(len(sums)), where=sums > 0)[numbers]
    return factors
