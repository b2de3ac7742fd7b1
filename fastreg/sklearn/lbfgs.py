"""Training on all data at once: SciPy's L-BFGS on our loss and gradient."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from fastreg import l2_regularization_loss
from fastreg.sklearn.rows import CHUNK

if TYPE_CHECKING:
    from fastreg._core.types import Loss
    from fastreg.nn import Sequential
    from fastreg.sklearn.training import Part

__all__ = ["Objective", "minimise"]


class Objective:
    """The penalised loss of all data and its gradient, as functions of one vector.

    The vector has the parameters in the order of ``network.params``, each flattened. Data that are
    no array of the network's dtype are converted some hundred rows at a time, in every call.
    """

    alpha: float
    model: Sequential
    loss: Loss
    data: Part
    shares: Any
    weight: float
    parts: list[slice]

    def __init__(self, estimator: Any, model: Sequential, loss: Loss, data: Part) -> None:
        self.alpha, self.model, self.loss, self.data = float(estimator.alpha), model, loss, data
        n = len(data.rows)
        self.shares = np.full(n, 1.0 / n)
        self.weight = float(n)
        if data.weights is not None:
            self.weight = float(data.weights.sum())
            self.shares = data.weights / self.weight
        whole = data.rows.is_array or estimator.norm == "batch"
        size = n if whole else CHUNK
        self.parts = [slice(i, min(i + size, n)) for i in range(0, n, size)]

    def start(self) -> Any:
        """The network's parameters as a vector."""
        return np.concatenate([p.ravel() for p in self.model.params.values()]).astype(np.float64)

    def set(self, vector: Any) -> None:
        """Give the network the parameters of a vector."""
        at = 0
        for array in self.model.params.values():
            array[...] = vector[at : at + array.size].reshape(array.shape)
            at += array.size

    def __call__(self, vector: Any) -> tuple[float, Any]:
        """Return loss and gradient."""
        self.set(vector)
        self.model.train()
        params, value = self.model.params, 0.0
        slopes = np.zeros(len(vector))
        for part in self.parts:
            options, share = {}, float(self.shares[part].sum())
            if self.data.weights is not None:
                options["sample_weight"] = self.data.weights[part]
            outputs = self.model.forward(self.data.rows.take(part))
            found, gradient = self.loss(outputs, self.data.targets[part], **options)
            self.model.backward(gradient, input_gradient=False)
            value += share * found
            grads = self.model.grads
            slopes += share * np.concatenate([grads[name].ravel() for name in params])
        if self.alpha:
            weights = {name: W for name, W in params.items() if name.endswith(".W")}
            value += l2_regularization_loss(weights, self.alpha) / self.weight
            at = 0
            for name, array in params.items():
                if name in weights:
                    slopes[at : at + array.size] += (self.alpha / self.weight) * array.ravel()
                at += array.size
        return value, slopes

    def forget(self) -> None:
        """Let the layers forget their last input."""
        self.model.eval()
        self.model.forward(np.zeros((1, self.data.rows.X.shape[1]), self.data.rows.dtype))


def minimise(estimator: Any, model: Sequential, loss: Loss, data: Part) -> None:
    """Train the network and note ``loss_`` and ``n_iter_``."""
    objective = Objective(estimator, model, loss, data)
    found = minimize(
        objective,
        objective.start(),
        method="L-BFGS-B",
        jac=True,
        callback=_printer(estimator) if estimator.verbose else None,
        options={"maxfun": estimator.max_fun, "maxiter": estimator.max_iter,
                 "gtol": estimator.tol},
    )  # fmt: skip
    objective.set(found.x)
    objective.forget()
    if found.status != 0:
        warnings.warn(
            f"lbfgs failed to converge after {found.nit} iteration(s) (status={found.status}):\n"
            f"{found.message}\n\nYou might also want to scale the data, or to increase the number "
            "of iterations (max_iter) or of function calls (max_fun).",
            ConvergenceWarning, stacklevel=5,
        )  # fmt: skip
    estimator.n_iter_ = min(found.nit, estimator.max_iter)
    estimator.loss_ = float(found.fun)


def _printer(estimator):
    """A callback that says where the solver is."""
    count = 0

    def tell(intermediate_result):
        nonlocal count
        count += 1
        print(f"Iteration {count}, loss = {intermediate_result.fun:.8f}")

    return tell
