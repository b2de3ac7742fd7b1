"""What scikit-learn does: the steps of its perceptron, and the optimizers under them."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier, _stochastic_optimizers

from fastreg.bench.contenders import MissingError
from fastreg.bench.problems import step as steps
from fastreg.bench.problems import update as updates

__all__ = ["NAME", "given", "step", "update"]

NAME = "scikit-learn"


def given(form: str) -> dict[str, Any]:
    """Say what takes part."""
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "1")
    return {"library": f"scikit-learn {sklearn.__version__}", "threads": f"{threads} of its BLAS"}


def update(work: Any, arrays: Any, form: str) -> Any:
    """Step one of the two optimizers that its perceptrons have."""
    params, grads = (list(part.values()) for part in arrays)
    if work.name not in ("Adam", "Momentum") or work.form:
        raise MissingError(f"scikit-learn has no {work.name} {work.form}")
    if work.name == "Adam":
        rule = _stochastic_optimizers.AdamOptimizer(params, updates.RATE)
    else:
        rule = _stochastic_optimizers.SGDOptimizer(params, updates.RATE, momentum=0.9,
                                                   nesterov=False)  # fmt: skip
    return partial(rule.update_params, params, grads), lambda _: params


def step(work: Any, arrays: Any, form: str) -> Any:
    """Take a step of ``partial_fit``, by Adam: it has no AdamW, batch norm or dropout."""
    _, sizes, batch_norm, drop, rate = steps.plan(work)
    if batch_norm or drop:
        raise MissingError("scikit-learn has neither batch norm nor dropout")
    X, y, weights = arrays
    model = MLPClassifier(sizes[1:-1], solver="adam", alpha=0.0, learning_rate_init=rate,
                          batch_size=len(X), shuffle=False)  # fmt: skip
    model.partial_fit(X, y, classes=np.arange(sizes[-1]))
    for own, W in zip(model.coefs_, weights, strict=True):
        own[...] = W
    for own in model.intercepts_:
        own[...] = 0
    rule = model._optimizer
    rule.t = 0
    for moments in (rule.ms, rule.vs):
        for moment in moments:
            moment[...] = 0
    return partial(model.partial_fit, X, y), lambda _: model.coefs_
