"""Dropout and its family in training. Everyone draws their own noise, so its law is checked."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from fastreg.bench.problems import draw

__all__ = ["bytes_moved", "check", "checked", "inputs", "noise_shape", "operations"]

CALLS = 1
RATE = 0.5


def noise_shape(name: str, shape: Any) -> tuple[int, ...]:
    """Return the shape of what is drawn: one number per element, channel or sample."""
    if name == "SpatialDropout":
        return (*shape[:2], *[1] * (len(shape) - 2))
    return (shape[0], *[1] * (len(shape) - 1)) if name == "StochasticDepth" else tuple(shape)


def checked(work: Any) -> Any:
    """Return the layer on a part of the input, but no fewer draws than its law can be seen in."""
    small = work.shrunk()
    drawn = int(np.prod(noise_shape(work.name, small.shape)))
    if drawn >= 1000:
        return small
    return dataclasses.replace(small, shape=(1000, *small.shape[1:]))


def inputs(work: Any) -> Any:
    """Draw the input, without numbers near 0, by which the check divides."""
    return (draw(work.shape, work.dtype, least=0.01),)


def check(work: Any, arrays: Any, found: Any, name: str) -> None:
    """Accept the mean and the spread of the right noise, within five standard errors.

    The noise of most has mean 1 and variance p / (1 - p). Alpha dropout keeps mean 0 and variance
    1 of its output; its factor is not what tells.
    """
    (x,), (y,) = arrays, found
    assert y.shape == x.shape and y.dtype == x.dtype
    drawn = noise_shape(work.name, x.shape)
    if work.name == "AlphaDropout":
        seen, mean, spread = y.astype(np.float64), 0.0, 1.0
    else:
        noise = y.astype(np.float64) / x
        seen = noise[tuple(slice(n) for n in drawn)]
        np.testing.assert_allclose(noise, np.broadcast_to(seen, x.shape), rtol=1e-5, atol=1e-5)
        mean, spread = 1.0, np.sqrt(RATE / (1 - RATE))
        if work.name != "GaussianDropout":
            kept = seen[seen != 0]
            np.testing.assert_allclose(kept, 1 / (1 - RATE), rtol=1e-5)
    error = 5 / np.sqrt(seen.size)
    np.testing.assert_allclose(seen.mean(), mean, rtol=0, atol=error * spread + 0.01)
    np.testing.assert_allclose(seen.std(), spread, rtol=0, atol=2 * error + 0.01)


def bytes_moved(work: Any) -> int:
    """Count the input and the output once."""
    return 2 * work.elements * np.dtype(work.dtype).itemsize


def operations(work: Any) -> int:
    """Return nothing: what is drawn hides behind memory."""
    return 0
