"""Data sets of the lab, split and standardised so that nothing leaks into training."""

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

__all__ = ["Dataset", "digits"]

# Shares of the whole: training gets the rest.
VALIDATION, TEST = 0.2, 0.2


@dataclass(frozen=True)
class Dataset:
    """A classification problem in three disjoint parts, features in float32."""

    name: str
    X_train: np.ndarray
    y_train: np.ndarray
    X_val: np.ndarray
    y_val: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

    @property
    def sizes(self):
        """Samples in training, validation and test."""
        return len(self.y_train), len(self.y_val), len(self.y_test)


def digits(*, seed=0):
    """Return scikit-learn's bundled handwritten digits: 1797 images of 8 x 8, 10 classes.

    Source: Alpaydin & Kaynak, "Optical recognition of handwritten digits", UCI, 1998.
    """
    X, y = load_digits(return_X_y=True)
    return split("digits", X, y, seed=seed)


def split(name, X, y, *, seed):
    """Split by class into training, validation and test; standardise by the training part."""
    X_train, X_rest, y_train, y_rest = train_test_split(
        X, y, test_size=VALIDATION + TEST, stratify=y, random_state=seed
    )
    X_val, X_test, y_val, y_test = train_test_split(
        X_rest, y_rest, test_size=TEST / (VALIDATION + TEST), stratify=y_rest, random_state=seed
    )
    scaler = StandardScaler().fit(X_train)
    X_train, X_val, X_test = (
        scaler.transform(part).astype(np.float32) for part in (X_train, X_val, X_test)
    )
    return Dataset(name, X_train, y_train, X_val, y_val, X_test, y_test)
