"""How many threads run, which instruction set, and what this build is."""

import contextlib
import math
import os
import sys

from fastreg import _checks, _kernels

__all__ = ["empty_cache", "get_num_threads", "num_threads", "set_num_threads", "show_config"]

CGROUP = "/sys/fs/cgroup"


def _read(path):
    try:
        with open(path, encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []


def _quota_cores():
    """Cores that the control group grants (version 2, then 1), rounded up; None if unlimited."""
    limit = _read(f"{CGROUP}/cpu.max")
    if not limit:
        limit = _read(f"{CGROUP}/cpu/cpu.cfs_quota_us") + _read(f"{CGROUP}/cpu/cpu.cfs_period_us")
    try:
        quota, period = map(float, limit)
    except ValueError:  # "max", or no control group
        return None
    return max(1, math.ceil(quota / period)) if quota > 0 and period > 0 else None


def _usable_cores():
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _default_threads():
    """min(OMP_NUM_THREADS or cores, affinity, control-group quota)."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    limits = [_usable_cores(), _quota_cores(), int(asked) if asked.isdecimal() else None]
    return max(1, min(limit for limit in limits if limit))


def get_num_threads():
    """Return the number of threads that a large kernel uses when called from here.

    Examples
    --------
    >>> with fastreg.num_threads(1):
    ...     fastreg.get_num_threads()
    1
    """
    return _kernels.num_threads()


def set_num_threads(n):
    """Set the number of threads for large kernels, in every Python thread.

    Parameters
    ----------
    n : int
        At least 1. The default is the smallest of OMP_NUM_THREADS (or the number of cores), the
        process's affinity and its control group's quota.

    Raises
    ------
    TypeError, ValueError
        If ``n`` is not an integer from 1 to 1024.

    Notes
    -----
    Results do not depend on it: a kernel returns the same bits for any number of threads. Work
    below about 256 KB always runs on the calling thread. NumPy's matrix products keep their own
    number of threads. Both wait by spinning, and on the same cores they wait for each other: in a
    loop of products and large kernels one thread for the kernels is faster, as in `Trainer`.

    Examples
    --------
    >>> before = fastreg.get_num_threads()
    >>> fastreg.set_num_threads(1)
    >>> fastreg.set_num_threads(before)
    """
    _kernels.set_default_threads(_checks.integer("set_num_threads", "n", n, low=1, high=1024))


@contextlib.contextmanager
def num_threads(n):
    """Use ``n`` threads inside a ``with`` block, in this Python thread only.

    Parameters
    ----------
    n : int
        From 1 to 1024.

    Raises
    ------
    TypeError, ValueError
        If ``n`` is not an integer from 1 to 1024.

    Examples
    --------
    >>> with fastreg.num_threads(2):
    ...     fastreg.get_num_threads()
    2
    """
    n = _checks.integer("num_threads", "n", n, low=1, high=1024)
    before = _kernels.set_local_threads(n)
    try:
        yield
    finally:
        _kernels.set_local_threads(before)


def empty_cache():
    """Give the memory of results that are no longer in use back to the system.

    Layers take their results from a pool of at most 1 GiB of idle blocks, to which a block
    returns when its array and every view of it are gone.

    Examples
    --------
    >>> fastreg.empty_cache()
    """
    _kernels.empty_cache()


def show_config(*, file=None):
    """Print version, compiler, instruction sets, OpenMP runtime, threads and memory.

    Parameters
    ----------
    file : text file, optional
        Where to print; standard output if left out.

    Examples
    --------
    >>> fastreg.show_config()  # doctest: +ELLIPSIS
    fastreg ...
    """
    import numpy

    from fastreg import __version__

    build, pool = _kernels.build_info(), _kernels.pool_info()
    lines = {
        "fastreg": __version__,
        "python": sys.version.split()[0],
        "numpy": numpy.__version__,
        "compiler": build["compiler"],
        "instruction set": f"{_kernels.level()} (available: {', '.join(_kernels.levels())})",
        "openmp runtime": build["openmp"],
        "threads": _kernels.num_threads(),
        "memory pool": f"{pool['live_bytes'] / 2**20:.1f} MiB in use, "
        f"{pool['idle_bytes'] / 2**20:.1f} MiB idle in {pool['idle_blocks']} blocks",
    }
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:<{width}}  {value}", file=file)


_kernels.set_default_threads(_default_threads())
