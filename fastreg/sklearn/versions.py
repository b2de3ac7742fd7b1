"""What scikit-learn calls by another name in its older versions, from 1.4 on."""

from __future__ import annotations

from typing import Any

from sklearn.utils import validation

__all__ = ["validate_data"]


def validate_data(estimator: Any, *data: Any, **how: Any) -> Any:
    """Check data as scikit-learn does, and note or compare the features' names and number."""
    if hasattr(validation, "validate_data"):
        return validation.validate_data(estimator, *data, **how)
    return estimator._validate_data(*data, **how)  # before 1.6
