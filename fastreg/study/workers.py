"""Work sent out through joblib, whose results are had as they come, on every backend.

``joblib.parallel_config`` says where it runs: in processes here, or on a cluster of Dask or Ray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["results"]


def results(tasks: Iterable[Any], n_jobs: int | None, *, ordered: bool) -> Iterator[Any]:
    """Send ``joblib.delayed`` calls out and return an iterator over what they return.

    Notes
    -----
    A pool of joblib's multiprocessing, of which Ray's is made, calls back with every result, but
    does not offer an iterator unless it is told to; its list would come after the last result, and
    the death of one worker would lose all of it.

    Examples
    --------
    >>> import joblib
    >>> list(results([joblib.delayed(abs)(k) for k in (-1, 2)], 1, ordered=True))
    [1, 2]
    """
    import joblib
    from joblib.parallel import MultiprocessingBackend, get_active_backend

    backend: Any = get_active_backend()[0]
    if issubclass(type(backend), MultiprocessingBackend):
        backend.supports_return_generator = True
    order = "generator" if ordered else "generator_unordered"
    found: Any = joblib.Parallel(n_jobs=n_jobs, return_as=order)(tasks)
    return found
