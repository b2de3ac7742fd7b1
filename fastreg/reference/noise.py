"""Alpha dropout, which adds a shift too, and Gaussian dropout."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fastreg.reference.dropout import Dropout, Noise
from fastreg.reference.random import normals

if TYPE_CHECKING:
    from fastreg._core.types import Seed

__all__ = ["AlphaDropout", "GaussianDropout"]

SATURATION = -1.7580993408473766  # what SELU tends to at minus infinity


class AlphaDropout(Noise):
    """Dropped elements take SELU's limit, and a scale and a shift restore mean and variance."""

    def __init__(self, drop_rate: float = 0.5, *, rng: Seed = None) -> None:
        super().__init__(drop_rate, rng)

    mask: Any = Dropout.mask

    def _noise(self, X):
        p, q = self.drop_rate, 1.0 - self.drop_rate
        a = 1.0 / math.sqrt(q * (1.0 + p * SATURATION**2)) if q > 0.0 else 0.0
        # a * x + b for kept elements, a * SATURATION + b for dropped ones, b = -a * p * SATURATION
        shift = self._choose(X, -a * p * SATURATION, a * q * SATURATION)
        return self._choose(X, a, 0.0), shift


class GaussianDropout(Noise):
    """Normal factors with the mean and variance of dropout's (Srivastava et al., section 10)."""

    def __init__(self, drop_rate: float = 0.5, *, rng: Seed = None) -> None:
        super().__init__(drop_rate, rng)

    @property
    def noise(self) -> Any:
        """The factors of the last training call."""
        return self._factor

    def _noise(self, X):
        sigma = X.dtype.type(math.sqrt(self.drop_rate / (1.0 - self.drop_rate)))
        deviates = normals(self._key, self._calls, X.shape).astype(X.dtype)
        return X.dtype.type(1.0) + sigma * deviates, None
