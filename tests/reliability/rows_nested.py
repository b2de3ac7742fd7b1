"""F-05: calls within calls, and F-07: no room for threads."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from charter import HERE, TREE, Broken, row

import fastreg
from fastreg._core import _kernels
from fastreg.train import Trainer


def missing():
    linux = sys.platform.startswith("linux") and shutil.which("cc")
    return "" if linux else "needs Linux and a compiler"


REGION = """
void region(void (*call)(int), int n)
{
#pragma omp parallel for schedule(static, 1) num_threads(4)
    for (int k = 0; k < n; k++)
        call(k);
}
"""


def library(folder, name, text, *flags):
    """A library in a folder, or None where there is no compiler for it."""
    source, target = Path(folder, f"{name}.c"), Path(folder, f"{name}.so")
    source.write_text(text)
    compiler = shutil.which("cc")
    command = [compiler, "-O1", "-fPIC", "-shared", *flags, "-o", target, source]
    made = compiler and not subprocess.run(command, capture_output=True).returncode
    return str(target) if made else None


def python(*arguments, limit=600, **environment):
    """What a process prints; an error in it, or no end, breaks the promise."""
    path = os.pathsep.join([str(HERE), str(TREE), *filter(None, sys.path)])
    try:
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, timeout=limit,
            env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", **environment},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Broken(f"no end within {limit} s") from None
    if done.returncode:
        raise Broken(f"{done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def one_training_at_a_time(patch):
    """A lock around trainings, which the thread that holds it waits for."""
    plain, lock = Trainer.fit, threading.Lock()

    def fit(self, *arguments, **options):
        assert lock.acquire(timeout=1), "waits for itself"
        try:
            return plain(self, *arguments, **options)
        finally:
            lock.release()

    patch.setattr(Trainer, "fit", fit)


def shared_scratch(patch):
    """Parameters on their way through one place of the process."""
    plain, scratch = fastreg.Adam.update, {}

    def update(self, params, grads):
        scratch.update((key, value.copy()) for key, value in params.items())
        time.sleep(0.001)
        mine = {key: scratch[key] for key in params}
        plain(self, mine, grads)
        for key, value in mine.items():
            params[key][...] = value

    patch.setattr(fastreg.Adam, "update", update)


def a_team_for_each_caller(patch):
    """Threads that a caller leaves behind."""
    import _thread

    plain = fastreg.Adam.update

    def update(self, params, grads):
        if len(os.listdir("/proc/self/task")) < 60:
            _thread.start_new_thread(time.sleep, (5,))
        plain(self, params, grads)

    patch.setattr(fastreg.Adam, "update", update)


@row(
    "F-05",
    "calls from pools of threads, joblib, threads of threads, an OpenMP region, and from hooks, losses, schedules and sources of trainings within trainings: the bits that they have alone, no hang, and no more threads than one team has",
    "nested calls",
    full=10_000,
    short=80,
    faults=(one_training_at_a_time, shared_scratch, a_team_for_each_caller),
    needs=missing,
)
def nested(n):
    done = 0
    with tempfile.TemporaryDirectory() as folder:
        has_region = library(folder, "region", REGION, "-fopenmp")
        while done < n:
            rounds = min(20, -(-(n - done) // 90))
            given = [folder] if has_region else []
            done += int(python(str(HERE / "nested.py"), str(rounds), *given))
    return done


# --- F-07: no room for threads ------------------------------------------------------------------

#: Of the threads that a process starts, the first few succeed.
FULL = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
static long left = 1000000;
void allow(long n) { __atomic_store_n(&left, n, __ATOMIC_SEQ_CST); }
int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *x)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return __atomic_fetch_sub(&left, 1, __ATOMIC_SEQ_CST) <= 0 ? EAGAIN : real(t, a, f, x);
}
"""
STARTS = """
import ctypes, os, sys, time
import planted
import numpy as np, fastreg
planted.pytest_configure()
allow = ctypes.CDLL(sys.argv[1]).allow
allow.argtypes = [ctypes.c_long]
X = np.random.default_rng(5).standard_normal((300, 700))
def work():
    W = {"w": X.copy()}
    fastreg.Adam().update(W, {"w": X[::-1]})
    norm = fastreg.BatchNorm(700)
    return b"".join(part.tobytes() for part in (
        W["w"], fastreg.Dropout(0.5, rng=1).forward(X), norm.forward(X), norm.backward(X)))
def info():
    return fastreg._core._kernels.team_info()
def start(room, expected):
    "The first use with room for so many threads, then for more than are asked for."
    allow(room)
    with fastreg.num_threads(4):
        for _ in range(3):
            assert work() == expected, "other bits"
        told = info()
        assert told["helpers"] <= room and told["refused"] == (room < 3), (room, told)
        allow(1000000)
        ends = time.monotonic() + 10
        while info()["helpers"] < 3 and time.monotonic() < ends:
            time.sleep(0.02)
            assert work() == expected, "other bits"
        assert info()["helpers"] == 3, "threads are not started when there is room"
with fastreg.num_threads(1):
    expected = work()
starts, rooms = int(sys.argv[2]), (0, 1, 2, 3)
for k in range(starts):  # a child of fork has no helpers: each is a start of its own
    if k == starts // 2 and starts > 4:  # the second half are of a process that has used its team
        with fastreg.num_threads(4):
            assert work() == expected
    child = os.fork()
    if not child:
        status = 1
        try:
            start(rooms[k % 4], expected)
            status = 0
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    assert not status, f"start {k}, room for {rooms[k % 4]}: {status}"
print(starts)
"""


def thread_of_its_own(patch):
    """An update that needs a thread."""
    plain = fastreg.Adam.update

    def update(self, params, grads):
        other = threading.Thread(target=lambda: plain(self, params, grads))
        other.start()
        other.join()

    patch.setattr(fastreg.Adam, "update", update)


def other_bits_alone(patch):
    """A step that is another one where no threads could be started."""
    plain = fastreg.Adam.update

    def update(self, params, grads):
        plain(self, params, grads)
        if _kernels.team_info()["refused"]:
            params["w"][:1] = np.nextafter(params["w"][:1], 9)

    patch.setattr(fastreg.Adam, "update", update)


@row(
    "F-07",
    "with room for 0, 1, 2 or 3 threads, before the first use and in children of a process that has used its team: the same bits on those there are, no abort, and the rest are started once there is room",
    "starts",
    full=1_000,
    short=8,
    planted=4,
    faults=(thread_of_its_own, other_bits_alone),
    needs=missing,
)
def no_room(n):
    with tempfile.TemporaryDirectory() as folder:
        preloaded = library(folder, "full", FULL, "-ldl")
        if preloaded is None:
            raise RuntimeError("needs a compiler")
        return int(python("-c", STARTS, preloaded, str(n), limit=1800, LD_PRELOAD=preloaded))
