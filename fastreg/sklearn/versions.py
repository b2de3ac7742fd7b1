"""scikit-learn from 1.4 on: what it calls by another name, and its bases with types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import validation

if TYPE_CHECKING:
    from fastreg._core.types import Data

if TYPE_CHECKING:  # scikit-learn comes without types

    class BaseEstimator:
        """Parameters by name."""

        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **params: Any) -> Any: ...
        @classmethod
        def _get_param_names(cls) -> list[str]: ...
        def __sklearn_tags__(self) -> Any: ...
        def __getstate__(self) -> Any: ...

    class ClassifierMixin:
        """The accuracy of predictions."""

        def score(self, X: Data, y: Data, sample_weight: Data = None) -> float: ...

    class RegressorMixin:
        """The share of the variance that predictions explain."""

        def score(self, X: Data, y: Data, sample_weight: Data = None) -> float: ...

else:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

__all__ = [
    "BaseEstimator",
    "ClassifierMixin",
    "RegressorMixin",
    "checked_weights",
    "validate_data",
]


def validate_data(estimator: Any, *data: Any, **how: Any) -> Any:
    """Check data as scikit-learn does, and note or compare the features' names and number."""
    if hasattr(validation, "validate_data"):
        return validation.validate_data(estimator, *data, **how)
    return estimator._validate_data(*data, **how)  # before 1.6


def checked_weights(sample_weight: Any, X: Any) -> Any:
    """Return the weights of X's rows as float64, none below 0."""
    weights = validation._check_sample_weight(sample_weight, X, dtype=np.float64)
    if (weights < 0).any():
        raise ValueError("Negative values in data passed to `sample_weight`.")
    return weights
