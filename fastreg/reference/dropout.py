"""The dropout family: every layer multiplies by noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.reference.random import draw_key, keep_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastreg._core.types import Array, Saved, Seed

__all__ = ["DropConnect", "Dropout", "SpatialDropout", "StochasticDepth"]


class Noise:
    """A mode, a key and a count of calls; subclasses make the noise of the next call."""

    training: bool
    drop_rate: float

    _noise: Callable[[Array], Any]  # each class draws its own

    def __init__(self, drop_rate: float, rng: Seed) -> None:
        self.drop_rate, self.training = drop_rate, True
        self._rng, self._key, self._calls = rng, None, 0
        self._factor = self._keep = None

    def forward(self, X: Array) -> Array:
        """``X * noise`` in training, ``X`` otherwise."""
        if not self.training:
            self._factor = self._rest(X)
            return X if self._factor is None else X * self._factor
        if self._key is None:
            self._key = draw_key(self._rng)
        self._factor, shift = self._noise(X)
        self._calls += 1
        return X * self._factor if shift is None else X * self._factor + shift

    def backward(self, dout: Array) -> Array:
        """The gradient through the noise of the last forward call."""
        return dout if self._factor is None else dout * self._factor

    def train(self) -> None:
        """Enter training mode."""
        self.training = True

    def eval(self) -> None:
        """Enter inference mode."""
        self.training = False

    def reset(self, *, call: int = 0) -> None:
        """Let the next training call be number ``call``."""
        self._calls = call

    def state_dict(self) -> dict[str, Any]:
        """Where the noise stands."""
        if self._key is None and self._rng is not None:
            self._key = draw_key(self._rng)
        return {"stream": 1, "key": self._key, "call": self._calls}

    def load_state_dict(self, state: Saved) -> None:
        """Continue from ``state``."""
        self._key, self._calls = state["key"], state["call"]

    def _rest(self, X):
        return None

    def _choose(self, X, kept, dropped, shape=None):
        """``kept`` or ``dropped`` for each element, drawn with the shape of X or this one."""
        shape = X.shape if shape is None else shape
        keep = keep_mask(self._key, self._calls, shape, self.drop_rate)
        self._keep = keep.astype(np.int64)
        return np.where(keep, X.dtype.type(kept), X.dtype.type(dropped))


class Dropout(Noise):
    """Inverted dropout (Srivastava et al., 2014): keep with probability 1-p, scale by 1/(1-p)."""

    def __init__(
        self,
        drop_rate: float = 0.5,
        *,
        rng: Seed = None,
        noise_shape: Sequence[int | None] | None = None,
        inverted: bool = True,
    ) -> None:
        super().__init__(drop_rate, rng)
        self._noise_shape, self._inverted = noise_shape, inverted

    @property
    def mask(self) -> Any:
        """The 0/1 mask of the last training call."""
        return self._keep

    def _shape(self, X):
        if self._noise_shape is None:
            return X.shape
        return tuple(n if m is None else m for m, n in zip(self._noise_shape, X.shape, strict=True))

    def _noise(self, X):
        scale = 1.0 / (1.0 - self.drop_rate) if self.drop_rate < 1.0 else 0.0
        return self._choose(X, scale if self._inverted else 1.0, 0.0, self._shape(X)), None

    def _rest(self, X):
        return None if self._inverted else X.dtype.type(1.0 - self.drop_rate)


class SpatialDropout(Dropout):
    """Whole channels (Tompson et al., 2015): one draw per sample and channel."""

    def __init__(self, drop_rate: float = 0.5, *, axis: int = 1, rng: Seed = None) -> None:
        super().__init__(drop_rate, rng=rng)
        self.axis = axis

    def _shape(self, X):
        return tuple(n if k in (0, self.axis % X.ndim) else 1 for k, n in enumerate(X.shape))


class StochasticDepth(Dropout):
    """Whole samples, or the batch (Huang et al., 2016)."""

    def __init__(self, drop_rate: float = 0.5, *, mode: str = "row", rng: Seed = None) -> None:
        super().__init__(drop_rate, rng=rng)
        self.mode = mode

    def _shape(self, X):
        return tuple(n if k == 0 and self.mode == "row" else 1 for k, n in enumerate(X.shape))


class DropConnect(Dropout):
    """Weights (Wan et al., 2013)."""

    def __init__(self, drop_rate: float = 0.5, *, rng: Seed = None) -> None:
        super().__init__(drop_rate, rng=rng)
