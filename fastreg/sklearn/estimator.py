"""What `MLPClassifier` and `MLPRegressor` share: parameters, fitting, and what a file keeps."""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import _fit_context
from sklearn.metrics import get_scorer_names
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import (
    Interval,
    InvalidParameterError,
    Options,
    StrOptions,
)
from sklearn.utils.validation import check_is_fitted

import fastreg
from fastreg.sklearn import network, rows
from fastreg.sklearn.lbfgs import minimise
from fastreg.sklearn.losses import loss_for, responses
from fastreg.sklearn.steps import OPTIMIZERS, SCHEDULES
from fastreg.sklearn.training import Part, lent, train
from fastreg.sklearn.versions import BaseEstimator, checked_weights

if TYPE_CHECKING:
    from fastreg._core.types import Array, Data

__all__ = ["Multilayer"]

STOCHASTIC = ("sgd", "adam")
NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)
#: What only the stochastic solvers can do, and the values that ask for nothing.
STEPWISE: dict[str, Any] = {
    "dropout": 0.0, "input_dropout": 0.0, "optimizer": None, "schedule": None, "weight_decay": None,
    "lambda_l1": 0.0, "max_norm": None, "clip_norm": None, "ema_decay": None,
}  # fmt: skip
#: What is a number and no truth value; scikit-learn's own parameters may be either.
NUMBERS = (
    "dropout", "input_dropout", "weight_decay", "lambda_l1", "max_norm", "clip_norm", "ema_decay",
    "label_smoothing",
)  # fmt: skip
#: What an optimizer that is given as an object has already been told.
OWN = ("weight_decay", "lambda_l1", "clip_norm", "ema_decay")


class Multilayer(BaseEstimator):
    """Base of both estimators."""

    hidden_layer_sizes: Any
    activation: str
    solver: str
    random_state: Any
    warm_start: bool
    early_stopping: bool
    validation_fraction: float
    dropout: Any
    input_dropout: float
    norm: str | None
    optimizer: Any
    callbacks: Any
    dtype: Any
    classes_: Any  # of the classifier
    coefs_: list[Array]
    intercepts_: list[Array]
    loss_curve_: list[float]
    best_loss_: float | Any  # None with early stopping
    validation_scores_: list[float] | Any  # None without validation data
    best_validation_score_: float | Any
    n_features_in_: int
    n_iter_: int
    n_layers_: int
    n_outputs_: int
    t_: int
    out_activation_: str

    _parameter_constraints: dict[str, Any] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(network.ACTIVATIONS))],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf}),
        ],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "input_dropout": [Interval(Real, 0, 1, closed="left")],
        "norm": [StrOptions(set(network.NORMS)), None],
        "optimizer": [StrOptions(set(OPTIMIZERS)), fastreg.Optimizer, None],
        "schedule": [StrOptions(set(SCHEDULES)), callable, None],
        "weight_decay": [Interval(Real, 0, None, closed="left"), None],
        "lambda_l1": [Interval(Real, 0, None, closed="left")],
        "max_norm": [Interval(Real, 0, None, closed="neither"), None],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "scoring": [StrOptions({"loss", *get_scorer_names()}), callable, None],
        "ema_decay": [Interval(Real, 0, 1, closed="left"), None],
        "callbacks": [list, tuple, None],
        "dtype": [
            StrOptions({"float32", "float64"}), Options(type, {np.float32, np.float64}), None,
        ],
    }  # fmt: skip

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        return tags

    def _is_stochastic(self):
        """Whether there is a `partial_fit`: the condition of its being an attribute."""
        if self.solver not in STOCHASTIC:
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. "
                f"{self.solver} is not stochastic."
            )
        return True

    # --- fitting ---------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: Data, y: Data, sample_weight: Data = None, *, X_val: Data = None,
        y_val: Data = None, sample_weight_val: Data = None,
    ) -> Any:  # fmt: skip
        """Fit the network to data.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Classes, or numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the loss, at least 0. Samples of weight 0 take no part.
        X_val, y_val : as X and y, keyword-only
            Validation data of your own: after each epoch, their score enters
            ``validation_scores_``, and `early_stopping` goes by it; nothing is split off then.
        sample_weight_val : array-like, keyword-only
            Weights of the validation samples in the score.

        Returns
        -------
        self : object
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    def _fit(self, X, y, sample_weight, val=(None, None, None), incremental=False):
        """Check everything, then train."""
        sizes = self._sizes()
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        rates = self._rates(len(sizes))
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        X, y = self._checked(X, y, reset=first)
        targets = self._targets(y, first, incremental)
        if sample_weight is not None:
            sample_weight = checked_weights(sample_weight, X)
        sample_weight = self._weighted(y, sample_weight)
        random_state = check_random_state(self.random_state)
        dtype = np.dtype(self.dtype or (X.dtype if X.dtype in rows.FLOATS else np.float64))
        dtype = dtype if first else self.coefs_[0].dtype
        work = np.dtype(np.float32) if self._is_narrow(X, targets, dtype, incremental) else dtype
        if targets.dtype.kind == "i":  # labels of a softmax
            n_outputs = len(self.classes_)
        else:
            n_outputs = 1 if targets.ndim == 1 else targets.shape[1]
        if first:
            self._start([X.shape[1], *sizes, n_outputs], rates, random_state, dtype)
        self.n_outputs_ = n_outputs
        self._steps = getattr(self, "_steps", 0)
        data, validation = self._parts(X, y, targets, sample_weight, val, work, random_state)
        model = self._network_of(rates, work)
        loss = loss_for(self.out_activation_, getattr(self, "label_smoothing", 0.0), dtype)
        if self.solver in STOCHASTIC:
            self._set_out(first, validation)
            with np.errstate(all="ignore"), lent(self.callbacks):
                train(self, model, loss, data, validation, incremental, random_state)
        else:
            minimise(self, model, loss, data)
        if not all(np.isfinite(array).all() for array in (*self.coefs_, *self.intercepts_)):
            raise ValueError(NOT_FINITE)
        if work != dtype:  # the weights are those of the data's dtype from here on
            self.coefs_ = [array.astype(dtype) for array in self.coefs_]
            self.intercepts_ = [array.astype(dtype) for array in self.intercepts_]
        self._in_training = incremental
        return self

    # What a kind of estimator says: how its data are checked, the targets of its loss, and the
    # activation of its last layer.
    _checked: Any
    _targets: Any
    _out_activation: Any

    def _is_narrow(self, X, targets, dtype, incremental):
        """Whether float32 arithmetic loses nothing of the data, and no bits are asked for."""
        if self.dtype is not None or incremental or self.solver not in STOCHASTIC:
            return False
        return dtype == np.float64 and rows.fits_float32(X) and (
            targets.dtype.kind != "f" or rows.fits_float32(targets.reshape(len(targets), -1))
        )  # fmt: skip

    def _items(self, name, value):
        """The items of a parameter that is a sequence."""
        plain = isinstance(value, (list, tuple))
        if not plain and (
            isinstance(value, (str, type, dict, set, frozenset))
            or not hasattr(value, "__iter__")
            or getattr(value, "ndim", 1) == 0
        ):
            raise InvalidParameterError(
                f"The {name!r} parameter of {type(self).__name__} must be a sequence. "
                f"Got {value!r} instead."
            )
        return list(value)

    def _sizes(self):
        """Widths of the hidden layers."""
        sizes = self.hidden_layer_sizes
        if isinstance(sizes, Integral):
            sizes = [sizes]
        sizes = self._items("hidden_layer_sizes", sizes)
        if not all(
            isinstance(size, Integral) and not isinstance(size, (bool, np.timedelta64))
            for size in sizes
        ):
            raise InvalidParameterError(
                f"The 'hidden_layer_sizes' parameter of {type(self).__name__} must be an int, or "
                f"one for each hidden layer. Got {self.hidden_layer_sizes!r} instead."
            )
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return sizes

    def _rates(self, n_hidden):
        """Dropout's rates on the input and on each hidden layer, checked with what else is new."""
        for callback in self._items("callbacks", self.callbacks or []):
            if not callable(getattr(callback, "on_train_begin", None)) or isinstance(
                callback, type
            ):
                raise InvalidParameterError(
                    f"The 'callbacks' parameter of {type(self).__name__} must be a sequence of "
                    f"fastreg.callbacks.Callback. Got {callback!r} in it instead."
                )
        for name in NUMBERS:
            if isinstance(getattr(self, name, None), (bool, np.bool_)):
                raise InvalidParameterError(
                    f"The {name!r} parameter of {type(self).__name__} must be a number. "
                    f"Got {getattr(self, name)!r} instead."
                )
        if isinstance(self.dropout, Real):
            rates = [self.dropout] * n_hidden
        else:
            rates = self._items("dropout", self.dropout)
        if len(rates) != n_hidden or not all(
            isinstance(r, Real) and 0 <= float(r) < 1 for r in rates
        ):
            raise InvalidParameterError(
                f"The 'dropout' parameter of {type(self).__name__} must be a rate in [0, 1), or "
                f"one for each of the {n_hidden} hidden layers. Got {self.dropout!r} instead."
            )
        for name, nothing in STEPWISE.items():
            value = getattr(self, name)
            asked = any(rates) if name == "dropout" else value is not None and value != nothing
            if asked and self.solver not in STOCHASTIC:
                raise InvalidParameterError(
                    f"The {name!r} parameter of {type(self).__name__} needs solver='adam' or "
                    f"'sgd'. Got solver={self.solver!r} instead."
                )
            if asked and name in OWN and isinstance(self.optimizer, fastreg.Optimizer):
                raise InvalidParameterError(
                    f"The {name!r} parameter of {type(self).__name__} is for optimizers by name. "
                    f"Give it to {self.optimizer!r} instead."
                )
        for callback in self.callbacks or ():
            if not callable(getattr(callback, "on_train_batch_end", None)):
                raise InvalidParameterError(
                    f"The 'callbacks' parameter of {type(self).__name__} must hold objects with "
                    f"the hooks of fastreg.callbacks.Callback. Got {callback!r} instead."
                )
        return [self.input_dropout, *rates]

    def _start(self, units, rates, random_state, dtype):
        """Draw new weights and forget the last training."""
        self.n_iter_ = self.t_ = self._steps = 0
        self.n_layers_ = len(units)
        self.out_activation_ = self._out_activation()
        self.coefs_, self.intercepts_ = network.initial(units, self.activation, random_state, dtype)
        self._norms = network.new_norms(self.norm, self.intercepts_)
        self._seeds = [int(random_state.randint(2**31 - 1)) if rate else 0 for rate in rates]
        self._optimizer = self._network = None

    def _set_out(self, first, validation):
        """Begin the curves anew, or go on with what this kind of training watches."""
        if first or not hasattr(self, "_no_improvement_count"):
            self._no_improvement_count = 0
        if first or not hasattr(self, "loss_curve_"):
            self.loss_curve_ = []
        if self.early_stopping:
            self.best_loss_ = None
        elif first or getattr(self, "best_loss_", None) is None:
            self.best_loss_ = np.inf
        scores = getattr(self, "validation_scores_", None)
        if validation is None and (first or scores is None):
            self.validation_scores_ = self.best_validation_score_ = None
        elif first or scores is None:
            self.validation_scores_, self.best_validation_score_ = [], -np.inf

    def _parts(self, X, y, targets, weights, val, work, random_state):
        """Training data, and validation data if there are any."""
        targets = in_columns(targets, work)
        source = rows.as_rows(X, work)
        kept = np.arange(len(source)) if weights is None else np.flatnonzero(weights)
        if not len(kept):
            raise ValueError("Sample weights must contain at least one non-zero number.")
        X_val, y_val, weights_val = val
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val must be given together.")
        validation = None
        if X_val is not None:
            validation = self._own_validation(X_val, y_val, weights_val, work)
        elif self.early_stopping and self.solver in STOCHASTIC:
            alike = self._stratify(targets)
            both: Any = train_test_split(
                np.arange(len(source)), random_state=random_state, stratify=alike,
                test_size=self.validation_fraction,
            )  # fmt: skip
            picked, left = both
            if len(left) < 2:
                raise ValueError(
                    "The validation set is too small. Increase 'validation_fraction' or the size "
                    "of your dataset."
                )
            kept = picked if weights is None else picked[weights[picked] > 0]
            its = None if weights is None else weights[left]
            validation = Part(source.only(left), targets[left], its, y[left])
        if len(kept) < len(source):
            source, targets = source.only(kept), targets[kept]
            weights = None if weights is None else weights[kept]
        return Part(source, targets, weights), validation

    def _own_validation(self, X_val, y_val, weights, work):
        X_val, y_val = self._checked(X_val, y_val, reset=False)
        targets = self._targets(y_val, False, True)
        if weights is not None:
            weights = checked_weights(weights, X_val)
        targets = in_columns(targets, work)
        return Part(rows.as_rows(X_val, work), targets, weights, y_val)

    def _stratify(self, targets):
        return None

    def _weighted(self, y, sample_weight):
        return sample_weight

    # --- the network -----------------------------------------------------------------------

    @property
    def network_(self) -> Any:
        """The fitted network as a `fastreg.nn.Sequential`, in evaluation mode.

        Its arrays are ``coefs_`` and ``intercepts_`` themselves; its outputs are those before the
        last activation, ``out_activation_``.
        """
        check_is_fitted(self, "coefs_")
        model = self._network_of()
        model.eval()
        return model

    def _network_of(self, rates=None, dtype=None):
        """The network of ``coefs_``, in another dtype if asked for; ``coefs_`` are its arrays."""
        if dtype is not None:  # to train: a memory map may be read-only
            self.coefs_ = [network.writeable(array, dtype) for array in self.coefs_]
            self.intercepts_ = [network.writeable(array, dtype) for array in self.intercepts_]
            for norm in getattr(self, "_norms", []):
                norm.gamma, norm.beta = network.writeable(norm.gamma), network.writeable(norm.beta)
        built, model = getattr(self, "_network", None) or (None, None)
        if model is not None and rates in (None, built):
            layers = network.dense_layers(model)
            pairs = zip(layers, self.coefs_, self.intercepts_, strict=True)
            if all(
                layer.W is coef and (layer.b is None or layer.b is bias)
                for layer, coef, bias in pairs
            ):
                return model
        if rates is None:  # to predict with
            rates = [0.0] * len(self.coefs_)
        seeds, steps = getattr(self, "_seeds", ()), getattr(self, "_steps", 0)
        model = network.build(
            self.coefs_, self.intercepts_, getattr(self, "_norms", []), self.activation, rates,
            seeds, steps,
        )  # fmt: skip
        self._network = rates, model
        return model

    def _outputs(self, X):
        """What the last layer says of X, before its activation."""
        dtype = self.coefs_[0].dtype
        plain = (
            type(X) is np.ndarray
            and X.dtype in rows.FLOATS
            and X.ndim == 2
            and X.shape[1] == self.n_features_in_
            and len(X) > 0
            and not hasattr(self, "feature_names_in_")
        )
        if plain:  # nothing is left to check but the numbers

            def refuse():
                rows.checked(self, X, reset=False)

            return network.outputs(self._network_of(), rows.as_rows(X, dtype), refuse)
        X = rows.checked(self, X, reset=False)
        return network.outputs(self._network_of(), rows.as_rows(X, dtype))

    def _respond(self, Z):
        return responses(Z, self.out_activation_)

    def __getstate__(self) -> Any:
        """What a file keeps: the weights, not the network that is made of them.

        Only `partial_fit`, which is to go on, keeps the optimizer's state.
        """
        state = dict(super().__getstate__())
        state.pop("_network", None)
        if not state.get("_in_training", False):
            state.pop("_optimizer", None)
        return state


def in_columns(targets: Any, dtype: Any) -> Any:
    """Targets of a loss as a matrix of this dtype; labels of a softmax as they are."""
    return targets if targets.dtype.kind == "i" else targets.astype(dtype).reshape(len(targets), -1)
