"""Data sets of the lab."""

from sklearn.datasets import load_digits

from fastreg.data import Dataset, split

__all__ = ["Dataset", "digits"]


def digits(*, seed=0):
    """Return scikit-learn's bundled handwritten digits: 1797 images of 8 x 8, 10 classes.

    Source: Alpaydin & Kaynak, "Optical recognition of handwritten digits", UCI, 1998.
    """
    X, y = load_digits(return_X_y=True)
    return split("digits", X, y, rng=seed)
