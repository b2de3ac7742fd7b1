"""F: processes, and N-08: their floating-point mode."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from itertools import permutations

import numpy as np
from charter import HERE, TREE, Broken, kept_by, row
from rows_files import POSIX, child

import fastreg
from fastreg import config


def bits():
    X = np.random.default_rng(5).standard_normal((300, 700))
    W = {"w": X.copy()}
    fastreg.Adam().update(W, {"w": X[::-1]})
    return W["w"].tobytes() + fastreg.Dropout(0.5, rng=1).forward(X).tobytes()


def one_lock(patch):
    """A lock around each update, which a child finds as another thread has left it."""
    plain, lock = fastreg.Adam.update, threading.Lock()

    def update(self, params, grads):
        with lock:
            plain(self, params, grads)
            time.sleep(0.002)

    patch.setattr(fastreg.Adam, "update", update)


@row(
    "F-01",
    "forks after use, from a second thread, three deep, by multiprocessing's Pool and while another thread computes: no hang, the same bits",
    "forks",
    lacks="Python's own warnings of forks beside threads, from 3.12 on",
    full=10_000,
    short=40,
    slow=True,
    faults=(one_lock,),
    needs=POSIX,
)
def forks(n):
    with fastreg.num_threads(3):
        expected = bits()

        def right(depth=0):
            signal.alarm(60)  # what hangs is ended, and said
            if bits() != expected:
                raise Broken("other bits")
            if depth:
                joined(depth - 1)

        def joined(depth=0):
            status = os.waitstatus_to_exitcode(os.waitpid(child(lambda: right(depth)), 0)[1])
            if status == -signal.SIGALRM:
                raise Broken("a child hung")
            if status:
                raise Broken(f"a child crashed or computed other bits: {status}")

        stop = threading.Event()

        def busy():
            with fastreg.num_threads(3):
                while not stop.is_set():
                    if bits() != expected:
                        raise Broken("a thread computed other bits beside forks")

        def kept(work, failed):
            try:
                work()
            except BaseException as error:
                failed.append(error)

        def four_forms():
            joined()
            joined(2)

        for _ in range(n // 10):
            four_forms()  # four forks
            with multiprocessing.get_context("fork").Pool(2) as pool:  # two
                if set(pool.starmap_async(bits, [()] * 4).get(timeout=20)) != {expected}:
                    raise Broken("a pool's child computed other bits")
            failed = []
            second = threading.Thread(target=kept, args=(joined, failed))
            second.start()
            second.join()
            other = threading.Thread(target=kept, args=(busy, failed))
            other.start()
            try:
                for _ in range(3):
                    joined()
            finally:
                stop.set()
                other.join()
                stop.clear()
            if failed:
                raise failed[0]
    return n // 10 * 10


def quota_unread(patch):
    patch.setattr(config, "_quota_cores", lambda: None)


kept_by(
    "F-03",
    "threads are no more than quotas of cgroups (v1, v2), affinity and OpenMP's limits allow",
    "tests/core/test_thread_limits.py",
    lacks="what it costs to run with a quota of one core",
    times=10,
    faults=(quota_unread,),
)


def torn(patch):
    """A step written in pieces between which Python may stop."""
    plain = fastreg.Adam.update

    def update(self, params, grads):
        copies = {key: value.copy() for key, value in params.items()}
        plain(self, copies, grads)
        for key, value in copies.items():
            for place in range(0, value.size, 10_000):
                params[key][place : place + 10_000] = value[place : place + 10_000]

    patch.setattr(fastreg.Adam, "update", update)


def raised_again(patch):
    """An interrupt that is raised, and once more by the next step."""
    plain, owed = fastreg.Adam.update, set()

    def update(self, params, grads):
        if id(self) in owed:
            owed.clear()
            raise KeyboardInterrupt
        try:
            plain(self, params, grads)
        except KeyboardInterrupt:
            owed.add(id(self))
            raise

    patch.setattr(fastreg.Adam, "update", update)


def never_raised(patch):
    """A step that no interrupt reaches."""
    plain = fastreg.Adam.update

    def update(self, params, grads):
        with contextlib.suppress(KeyboardInterrupt):
            plain(self, params, grads)

    patch.setattr(fastreg.Adam, "update", update)


@row(
    "F-04",
    "an interrupt at any moment leaves a whole number of Adam's steps, bit for bit: the parameter, both slots and the count; it is raised once, and the next step is right",
    "interrupts",
    lacks="how soon an interrupt is raised",
    full=5_000,
    short=60,
    faults=(torn, raised_again, never_raised),
    needs=POSIX,
)
def interrupted(n):
    w, g = np.zeros(1_000_000), np.ones(1_000_000)
    optimizer, done = fastreg.Adam(), 0
    optimizer.update({"w": w}, {"w": g})  # so that there are slots
    alone, beside = {"w": np.zeros(1)}, fastreg.Adam()  # one element, and no interrupt
    signals = 0

    def interrupt(*_):
        nonlocal signals
        signals += 1
        raise KeyboardInterrupt

    def compare():
        while beside.t < optimizer.t:
            beside.update(alone, {"w": np.ones(1)})
        pairs = [(w, alone), (optimizer.m["w"], beside.m), (optimizer.v["w"], beside.v)]
        if not all((found == wanted["w"]).all() for found, wanted in pairs):
            raise Broken("a step was torn")

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for delay in np.random.default_rng().uniform(0.0005, 0.015, n):
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                while signals == done:
                    optimizer.update({"w": w}, {"w": g})
                raise Broken("an interrupt was not raised")
            except KeyboardInterrupt:
                done += 1
            compare()
            try:
                optimizer.update({"w": w}, {"w": g})
            except KeyboardInterrupt:
                raise Broken("an interrupt was raised again") from None
            compare()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return done


EXIT = """
import atexit, threading, planted
planted.pytest_configure()
import numpy as np, fastreg
fastreg.set_num_threads(3)
def work(forever=False):
    w = {"w": np.ones(300_000)}
    optimizer = fastreg.Adam()
    while True:
        optimizer.update(w, {"w": w["w"].copy()})
        if not forever:
            return
atexit.register(work)
work()
threading.Thread(target=work, args=(True,), daemon=True).start()
"""


def end_by_abort(patch):
    """A library that ends a process that used it the hard way."""
    import atexit

    plain = fastreg.Adam.update

    def update(self, *arguments):
        plain(self, *arguments)
        atexit.register(os.abort)

    patch.setattr(fastreg.Adam, "update", update)


@row(
    "F-06",
    "a process ends well while daemon threads compute, and computes at its exit",
    "processes",
    full=1_000,
    short=2,
    planted=1,
    faults=(end_by_abort,),
)
def ended(n):
    path = os.pathsep.join([str(HERE), str(TREE), *filter(None, sys.path)])
    for _ in range(n):
        done = subprocess.run(
            [sys.executable, "-c", EXIT], env={**os.environ, "PYTHONPATH": path}, cwd=TREE,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        if done.returncode or done.stderr:
            raise Broken(f"{done.returncode} {done.stderr[-2000:]}")
    return n


def helpers_in_the_default_mode(patch):
    """With more than one thread, the process's own mode and not the caller's."""
    plain = fastreg.Momentum.update

    def update(self, params, grads):
        if fastreg.get_num_threads() > 1:
            ctypes.CDLL("libm.so.6").fesetenv(ctypes.c_void_p(-1))
        plain(self, params, grads)

    patch.setattr(fastreg.Momentum, "update", update)


kept_by(
    "N-08",
    "in every rounding and flush mode one hash for all threads: helpers take the caller's mode. (The "
    "charter asked for one hash for all modes; but who sets a mode asks for its results, as of NumPy)",
    "tests/core/test_threads.py::test_helpers_compute_in_the_callers_mode",
    lacks="other work than steps of Momentum and Adam, Dropout, BatchNorm, LayerNorm, GELU, a penalty's gradient and a product",
    times=10,
    faults=(helpers_in_the_default_mode,),
)


BESIDE = """
import hashlib, os, sys
import planted
planted.pytest_configure()
for name in sys.argv[1:]:
    __import__(name)
import numpy as np, fastreg
def work():
    w = {"w": np.ones(300_000)}
    optimizer = fastreg.Adam()
    for _ in range(3):
        optimizer.update(w, {"w": w["w"] * 3})
    return hashlib.sha256(w["w"].tobytes()).hexdigest()
def others():
    if "sklearn" in sys.modules:
        from sklearn.cluster import KMeans
        KMeans(2, n_init=1).fit(np.arange(20_000.0).reshape(-1, 2))
    if "torch" in sys.modules:
        sys.modules["torch"].ones(200_000).exp().sum()
first = work()
others()
child = os.fork()
if not child:
    os._exit(0 if work() == first else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert work() == first
print(first)
"""


def other_bits_beside(patch):
    """A rule that minds what else is loaded."""
    plain = fastreg.Adam.update

    def update(self, params, grads):
        plain(self, params, grads)
        params["w"][:1] += len(sys.argv)

    patch.setattr(fastreg.Adam, "update", update)


@row(
    "F-02",
    "beside scikit-learn and torch, in all orders of import: use, theirs, a fork, use; the same bits and no hang",
    "processes",
    full=15,
    planted=4,
    slow=True,
    faults=(other_bits_beside,),
    needs=lambda: "" if find_spec("torch") and find_spec("sklearn") else "needs torch and sklearn",
)
def beside(n):
    names, path = ("fastreg", "sklearn", "torch"), [str(HERE), str(TREE), *filter(None, sys.path)]
    orders = [order for many in (1, 2, 3) for order in permutations(names, many)]
    found = set()
    for order in orders[:n]:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", BESIDE, *order], capture_output=True, text=True,
            timeout=600, env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        )  # fmt: skip
        if done.returncode:
            raise Broken(f"{order}: {done.returncode}\n{done.stderr[-2000:]}")
        found.add(done.stdout)
    if len(found) != 1:
        raise Broken(f"{len(found)} results")
    return min(n, len(orders))
