"""Threads, whose matrix products networks use, the instruction set, and what this build is."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from typing import TYPE_CHECKING, Any

from fastreg._core import _kernels, checks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastreg._core.types import Products

__all__ = [
    "empty_cache",
    "get_num_threads",
    "num_threads",
    "products",
    "set_num_threads",
    "show_config",
]

CGROUP = "/sys/fs/cgroup"
OWN_GROUPS = "/proc/self/cgroup"
MAPS = "/proc/self/maps"
AWAKE_NS = 10_000_000  # the longest time that a helper stays awake for the next region
BINDING = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _quota_files():
    """Yield quota and period of the process's control group and of every group above it.

    A container may see its own group as the root, although its path names groups outside. Groups
    that cannot be read are left out.
    """
    groups = [line.split(":", 2) for line in _read(OWN_GROUPS).splitlines() if line.count(":") > 1]
    for _, controllers, path in groups or [("", "", "/"), ("", "cpu", "/")]:
        if not controllers:
            roots, files = ["", "/unified"], ["cpu.max"]
        elif "cpu" in controllers.split(","):
            roots, files = ["/cpu", "/" + controllers], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        else:
            continue
        parts = [part for part in path.split("/") if part]
        for root in roots:
            for depth in range(len(parts) + 1):
                folder = "/".join([CGROUP + root, *parts[:depth]])
                yield " ".join(_read(f"{folder}/{name}") for name in files).split()


def _quota_cores():
    """Cores that the control groups grant (version 1 or 2), rounded up; None if unlimited."""
    grants = []
    for limit in _quota_files():
        try:
            quota, period = map(float, limit)
        except ValueError:  # "max", or no such group
            continue
        if quota > 0 and period > 0:
            grants.append(max(1, math.ceil(quota / period)))
    return min(grants, default=None)


def _openmp_runtimes():
    """The files of OpenMP runtimes that the process has loaded; they can be seen on Linux alone.

    fastreg brings none and uses none: its threads are its own.
    """
    mapped = [line.split(maxsplit=5)[5:] for line in _read(MAPS).splitlines()]
    names = ("libgomp", "libomp", "libiomp5")
    paths = {path for found in mapped for path in found}
    return sorted(path for path in paths if os.path.basename(path).startswith(names))


def _unbound_cores():
    """Cores that the process had before an OpenMP runtime bound its main thread to some of them.

    A runtime that is told to bind threads does so as soon as it is loaded, and remembers where.
    """
    if not any(os.environ.get(name) for name in BINDING):
        return set()
    import ctypes

    cores = set()
    for path in _openmp_runtimes():
        try:
            runtime = ctypes.CDLL(path)
            for place in range(runtime.omp_get_num_places()):
                ids = (ctypes.c_int * runtime.omp_get_place_num_procs(place))()
                runtime.omp_get_place_proc_ids(place, ids)
                cores.update(ids)
        except (OSError, AttributeError):  # the file was replaced, or another library has its name
            continue
    return cores


def _usable_cores():
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0) | _unbound_cores())
    return os.cpu_count() or 1


def _default_threads():
    """The smallest of OMP_NUM_THREADS, OMP_THREAD_LIMIT, cores, affinity and quota."""
    limits = [_usable_cores(), _quota_cores()]
    for name in ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT"):
        asked = os.environ.get(name, "").split(",")[0].strip()
        limits.append(int(asked) if asked.isdecimal() else None)
    return max(1, min(limit for limit in limits if limit))


def _helper_cores():
    """Cores for the helpers, one byte per core; empty if they may use their caller's.

    They are needed only where a runtime binds the calling threads: a thread inherits the limits
    of its process by itself.
    """
    if not hasattr(os, "sched_getaffinity") or not any(map(os.environ.get, BINDING)):
        return b""
    usable = os.sched_getaffinity(0) | _unbound_cores()
    return bytes(core in usable for core in range(max(usable) + 1))


def get_num_threads() -> int:
    """Return the number of threads that a large kernel called from here may use.

    Unless a number was set, a kernel uses all of them or one, whichever has lately been faster.

    Examples
    --------
    >>> with fastreg.num_threads(1):
    ...     fastreg.get_num_threads()
    1
    """
    return _kernels.num_threads()


def set_num_threads(n: int | None) -> None:
    """Set the number of threads for large kernels, in every Python thread.

    Parameters
    ----------
    n : int or None
        From 1 to 1024; None lets each call choose again, as before any number was set.

    Raises
    ------
    TypeError, ValueError
        If ``n`` is neither None nor an integer from 1 to 1024.

    Notes
    -----
    Results do not depend on it: a kernel returns the same bits for any number of threads. As
    long as no number is set, a kernel runs on all threads that the process may use (the smallest
    of OMP_NUM_THREADS, OMP_THREAD_LIMIT, the number of cores, the process's affinity and its
    control groups' quotas) or on one, whichever has lately been faster: next to busy processes
    or the threads of a matrix product, one thread can be. A number that was set is used as it
    is, that of `get_num_threads` too; None goes back to the choice. In either case work below
    about 256 KB runs on the calling thread, and so does work that finds the threads busy with
    another Python thread, or that can start no threads.

    Examples
    --------
    >>> fastreg.set_num_threads(1)
    >>> fastreg.get_num_threads()
    1
    >>> fastreg.set_num_threads(None)
    """
    _kernels.ask_of_all(_asked("set_num_threads", n))


@contextlib.contextmanager
def num_threads(n: int | None) -> Iterator[None]:
    """Use ``n`` threads inside a ``with`` block.

    The number holds in the context (`contextvars`) that enters the block: a Python thread, an
    asyncio task, and what they call. Other threads and tasks keep theirs.

    Parameters
    ----------
    n : int or None
        From 1 to 1024; None lets each call choose, whatever `set_num_threads` or a block around
        this one says.

    Raises
    ------
    TypeError, ValueError
        If ``n`` is neither None nor an integer from 1 to 1024.

    Examples
    --------
    >>> with fastreg.num_threads(2):
    ...     fastreg.get_num_threads()
    2
    """
    scope = _kernels.enter_scope(_asked("num_threads", n))
    try:
        yield
    finally:
        _kernels.leave_scope(scope)


def _asked(where, n):
    """Return a number of threads as the kernels have it: 0 where each call chooses."""
    return 0 if n is None else checks.integer(where, "n", n, low=1, high=1024)


@contextlib.contextmanager
def products(whose: Products | None) -> Iterator[None]:
    """Let networks use fastreg's own matrix products, or NumPy's, inside a ``with`` block.

    Layers that were given ``products=`` keep theirs, and `fastreg.matmul` is always fastreg's own.
    As for `num_threads`, the block holds in the context (`contextvars`) that enters it.

    Parameters
    ----------
    whose : {"own", "blas"} or None
        "own" are those of `fastreg.matmul`: the same bits for any number of threads, on every
        machine. "blas" are those of the BLAS that NumPy was built with: its speed, which is higher
        where it has an accelerator, as on macOS, its threads, and bits that depend on both. None
        leaves it to the block around this one, or to the default, "own".

    Raises
    ------
    TypeError, ValueError
        If ``whose`` is something else.

    Notes
    -----
    A layer's backward pass uses what is asked for where it is called. Checkpoints hold what the
    layers were given, not the block that a run was in.

    Examples
    --------
    >>> from fastreg.nn import mlp
    >>> model, X = mlp([3, 2], rng=0), np.ones((4, 3), np.float32)
    >>> with fastreg.products("blas"):
    ...     Y = model.forward(X)
    >>> np.allclose(Y, model.forward(X))
    True
    """
    asked = checks.products_of("products", "whose", whose)
    if asked is None:
        yield
        return
    scope = _kernels.enter_scope(int(asked == "blas"), of_products=True)
    try:
        yield
    finally:
        _kernels.leave_scope(scope)


def empty_cache() -> None:
    """Give the memory of results that are no longer in use back to the system.

    Layers take their results from a pool of at most 1 GiB of idle blocks, to which a block
    returns when its array and every view of it are gone.

    Examples
    --------
    >>> fastreg.empty_cache()
    """
    _kernels.empty_cache()


def _others():
    """Say which OpenMP runtimes other libraries have brought into the process."""
    if not _read(MAPS):
        return {}
    return {"OpenMP runtimes": ", ".join(_openmp_runtimes()) or "none in this process"}


def _lately():
    """Say whose threads they are and how they were chosen, in one line per size of work."""
    team = _kernels.team_info()
    if not team["built"]:
        return {"chosen": "one, built without threads", **_others()}
    if team["asked"]:
        how = "as asked for"
    else:
        how = "for each call, all or one, whichever has lately been faster"
    if team["refused"]:
        how += "; the system refuses to start more"
    count = team["helpers"]
    lines = {
        "team": f"fastreg's own, {count} {'helper' if count == 1 else 'helpers'} started",
        **_others(),
        "chosen": how,
    }
    for k, one in enumerate(team["classes"]):
        total = one["shared"] + one["alone"] + one["taken"]
        if not total:
            continue
        text = f"{one['shared']} of {total} calls shared"
        if one["spent"] + one["saved"] > 0:
            text += (
                f", {(one['spent'] + one['saved']) / max(1, one['spent']):.2f}x the speed of one"
            )
        if one["alone"]:
            text += f"; {one['alone']} on one thread after losses"
        if one["wait"]:
            text += f" (lost {one['debt'] / 1e6:.3g} ms, next try in {one['wait'] / 1e6:.3g} ms)"
        if one["taken"]:
            text += f"; {one['taken']} on one as another caller had the others"
        lines[f"  from {_kernels.SERIAL_BYTES * 4**k / 2**20:g} MiB"] = text
    return lines


def show_config(*, file: Any = None) -> None:
    """Print version, compiler, instruction sets, threads and memory.

    ``team`` are fastreg's own threads; the OpenMP runtimes named below it, if there are any, were
    brought by other libraries (Linux alone can tell).

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

    if file is not None and not callable(getattr(file, "write", None)):
        raise TypeError(f"show_config: file must be an open text file, got {checks.shown(file)}")

    build, pool = _kernels.build_info(), _kernels.pool_info()
    lines = {
        "fastreg": __version__,
        "python": sys.version.split()[0],
        "numpy": numpy.__version__,
        "compiler": build["compiler"],
        "instruction set": f"{_kernels.level()} (available: {', '.join(_kernels.levels())})",
        "matrix products": "by fused multiply-adds"
        if _kernels.fuses()
        else "exact but slow: this level has no fused multiply-add",
        "threads": _kernels.num_threads(),
        **_lately(),
        "memory pool": f"{pool['live_bytes'] / 2**20:.1f} MiB in use, "
        f"{pool['idle_bytes'] / 2**20:.1f} MiB idle in {pool['idle_blocks']} blocks",
    }
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:<{width}}  {value}", file=file)


def _tell_team():
    """Give the team its limits. Under a quota, waiting awake uses up time that work needs."""
    awake = 0 if _quota_cores() else AWAKE_NS
    _kernels.set_team(_default_threads(), awake, _helper_cores())


_tell_team()
