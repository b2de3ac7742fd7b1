"""What scikit-learn calls by another name in its older versions, from 1.4 on."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import validation

__all__ = ["checked_weights", "validate_data"]


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
