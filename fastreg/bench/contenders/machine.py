"""The limits of the machine: how fast it moves bytes, and how fast it multiplies and adds.

Bytes are moved by Python threads that leave the work to NumPy, which holds no lock meanwhile and
reaches the speed of memory with one plain loop per thread. The products are NumPy's.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

__all__ = ["NAME", "given", "limit"]

NAME = "machine"
THREADS = int(os.environ.get("FASTREG_BENCH_THREADS", "1"))


def given(form: str) -> dict[str, Any]:
    """Say what takes part."""
    return {"library": f"NumPy {np.__version__}", "threads": THREADS}


def limit(work: Any, arrays: Any, form: str) -> Any:
    """Return a sweep (``a *= 1``), a copy, or a product."""
    a, b = arrays
    if work.name == "product":
        out = np.empty((len(a), len(a)), a.dtype)
        return lambda: np.dot(a, b.T, out=out), lambda _: [out]
    pool = ThreadPoolExecutor(THREADS)
    parts = [np.array_split(array, THREADS) for array in (a, b)]
    one = a.dtype.type(1)
    if work.name == "sweep":
        return lambda: list(pool.map(lambda x: np.multiply(x, one, out=x), parts[0])), lambda _: [a]
    return lambda: list(pool.map(np.copyto, *parts)), lambda _: [a]
