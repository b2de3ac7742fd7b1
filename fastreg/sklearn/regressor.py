"""`MLPRegressor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from fastreg.sklearn import rows
from fastreg.sklearn.estimator import Multilayer
from fastreg.sklearn.losses import responses
from fastreg.sklearn.versions import RegressorMixin

if TYPE_CHECKING:
    from fastreg._core.types import Array, Data

__all__ = ["MLPRegressor"]


class MLPRegressor(RegressorMixin, Multilayer):
    """Multi-layer perceptron regressor: scikit-learn's, with dropout, norms and schedules.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default="squared_error"
        Half the squared error, or half the Poisson deviance, whose predictions are exponentials of
        the last layer's outputs and which takes y of at least 0.
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
    scoring : str or callable, default=None, keyword-only
        What ``validation_scores_`` and early stopping go by: None is R², "loss" the negative
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
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> model = MLPRegressor(activation="tanh", solver="lbfgs", max_iter=500, random_state=0)
    >>> bool(model.fit(X, np.sin(3 * X[:, 0])).score(X, np.sin(3 * X[:, 0])) > 0.99)
    True
    """

    loss: str
    _parameter_constraints: dict[str, Any] = {
        **Multilayer._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson"})],
    }

    def __init__(
        self,
        loss: str = "squared_error",
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
        scoring: Any = None,
        ema_decay: float | None = None,
        callbacks: Any = None,
        dtype: Any = None,
    ) -> None:
        given = locals()
        for name in self._get_param_names():
            setattr(self, name, given[name])

    @available_if(lambda est: est._is_stochastic())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Data, y: Data, sample_weight: Data = None) -> MLPRegressor:
        """Go once over these data.

        Parameters
        ----------
        X, y, sample_weight : array-like
            As for `fit`.

        Returns
        -------
        self : object
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Data) -> Array:
        """Return the expected numbers.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        check_is_fitted(self)
        found = responses(self._outputs(X), self.out_activation_)
        return found.ravel() if found.shape[1] == 1 else found

    def _out_activation(self):
        return "exp" if self.loss == "poisson" else "identity"

    def _checked(self, X, y, reset):
        X, y = rows.checked(self, X, y, reset=reset, multi_output=True, y_numeric=True)
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _targets(self, y, first, incremental):
        if self.loss == "poisson" and np.min(y) < 0:
            raise ValueError("loss='poisson' requires y >= 0.")
        return y if y.dtype == np.float32 else y.astype(np.float64)
