"""Seeds: from anything that ``default_rng`` takes, or from NumPy's global state.

``np.random.seed(42)`` thus determines everything that is given no ``rng``, as in the chapter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core.checks import shown

if TYPE_CHECKING:
    pass

__all__ = ["generator", "key"]


def generator(where: str, rng: Any) -> np.random.Generator:
    """Return a Generator; left out, one seeded by four words of NumPy's global state."""
    if rng is None:
        return np.random.default_rng(np.random.randint(0, 2**32, size=4, dtype=np.uint64))
    return _checked(where, rng)


def key(where: str, rng: Any) -> int:
    """Return 64 bits; left out, two words of NumPy's global state."""
    if rng is None:
        high, low = np.random.randint(0, 2**32, size=2, dtype=np.uint64)
        return int(high) << 32 | int(low)
    return int(_checked(where, rng).integers(0, 2**64, dtype=np.uint64))


def _checked(where, rng):
    """Pass a seed to ``default_rng``, unless it is a truth value, a text or a float."""
    try:
        if not isinstance(rng, (bool, np.bool_, str, bytes, np.ma.MaskedArray)):
            return np.random.default_rng(rng)
        error = TypeError
    except MemoryError:
        raise
    except Exception as refused:  # also what the seed's own code raises
        whole = type(rng) is int or isinstance(rng, np.integer)
        if whole and not isinstance(refused, ValueError):
            raise MemoryError(f"{where}: no room for a random generator") from refused
        error = ValueError if isinstance(refused, ValueError) else TypeError
    raise error(
        f"{where}: rng must be what numpy.random.default_rng takes (None, an integer of at least "
        f"0, a sequence of them, or a Generator), got {shown(rng)}"
    ) from None
