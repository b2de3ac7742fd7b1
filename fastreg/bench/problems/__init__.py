"""What each kind of work takes, what is right, and what it must cost at least.

A module has ``inputs(work)``, arrays that are the same in every process; ``check(work, arrays,
found, name)``, which raises AssertionError where what a library has found after ``CALLS`` calls is
not the result; ``checked(work)``, the case on which that is tried; ``bytes_moved(work)`` and
``operations(work)``, the fewest that the formula allows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["close", "draw"]


def draw(shape: Any, dtype: str, *, seed: int = 0, least: float = 0.0) -> Any:
    """Draw standard normal numbers, the same for a seed; after a million they come again.

    Those nearer to 0 than ``least`` are that instead.
    """
    size = int(np.prod(shape))
    few = np.random.default_rng(seed).standard_normal(min(size, 1 << 20), dtype=np.dtype(dtype))
    few[np.abs(few) < least] = least
    return np.resize(few, size).reshape(shape)


def close(found: Any, exact: Any, *, units: float = 64.0) -> None:
    """Accept errors of some units in the last place of the largest value.

    Parameters
    ----------
    found : array or sequence of arrays
        Its dtype sets the unit.
    exact : like found
        The result, in that dtype or float64.
    units : float, keyword-only
        So many.
    """
    if isinstance(exact, (list, tuple)):
        assert len(found) == len(exact), f"{len(found)} results instead of {len(exact)}"
        for one, other in zip(found, exact, strict=True):
            close(one, other, units=units)
        return
    found, exact = np.asarray(found), np.asarray(exact)
    assert found.shape == exact.shape, f"shape {found.shape} instead of {exact.shape}"
    dtype = found.dtype if found.dtype.kind == "f" and found.ndim else np.dtype(np.float32)
    unit = np.finfo(dtype).eps * (np.abs(exact).max() if exact.size else 0.0)
    np.testing.assert_allclose(found, exact, rtol=0, atol=float(units * unit))
