"""Calls within calls, in a process of its own.

``nested.py ROUNDS [FOLDER]`` prints how many calls had the bits that they have alone. FOLDER may
hold a library whose OpenMP threads call Python.
"""

import collections
import ctypes
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

import numpy as np
import planted

import fastreg
from fastreg import nn
from fastreg.callbacks import Callback
from fastreg.train import Trainer

THREADS = 3
TASKS = "/proc/self/task"


def work(k=0):
    """The bits of a step, a dropout, both passes of a norm and a product, worth a team each."""
    X = np.random.default_rng(k).standard_normal((200, 500))
    W = {"w": X.copy()}
    fastreg.Adam().update(W, {"w": X[::-1]})
    norm = fastreg.BatchNorm(500)
    parts = (W["w"], fastreg.Dropout(0.5, rng=1).forward(X), norm.forward(X), norm.backward(X),
             fastreg.matmul(X[:, :60], X[:60]))  # fmt: skip
    return b"".join(part.tobytes() for part in parts)


def trained(depth=0, hook="on_train_batch_end", inside=None):
    """The weights of a training; its hooks, loss, schedule or source do other work meanwhile."""
    rng = np.random.default_rng(depth)
    X, y = rng.standard_normal((60, 6)).astype(np.float32), np.arange(60) % 3
    model = nn.mlp([6, 16, 3], batch_norm=True, dropout=0.3, rng=depth)
    calls, options, loss = [0], {}, nn.softmax_cross_entropy
    at = 1 if hook == "on_train_begin" else 2

    def meanwhile(*arguments):
        calls[0] += 1
        if inside is not None and calls[0] == at:
            inside()

    if hook.startswith("on_"):
        callback = Callback()
        setattr(callback, hook, lambda *what: meanwhile())
        options["callbacks"] = [callback]
    elif hook == "loss":

        def loss(scores, labels):
            meanwhile()
            return nn.softmax_cross_entropy(scores, labels)

    elif hook == "schedule":

        def rate(step):
            meanwhile()
            return 0.01

        options["schedule"] = rate
    run = Trainer(model, loss, fastreg.AdamW(0.01), rng=3, progress=False, **options)
    if hook == "source":

        def batches():
            for first in range(0, 60, 20):
                meanwhile()
                yield X[first : first + 20], y[first : first + 20]

        run.fit(batches, epochs=2, steps_per_epoch=3)
    else:
        run.fit(X, y, epochs=2, batch_size=20, X_val=X, y_val=y)
    if inside is not None and calls[0] < at:
        raise AssertionError(f"{hook} was not called")
    return b"".join(array.tobytes() for array in model.arrays.values())


HOOKS = ("on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_train_batch_end",
         "on_epoch_end", "loss", "schedule", "source")  # fmt: skip


class Count:
    """How many native threads there are beside those of Python, for fifty looks on end: of Python's
    own, some have ended and are not gone yet."""

    def __init__(self):
        self.most, self.stop, self.lately = 0, threading.Event(), collections.deque(maxlen=50)

    def watch(self):
        while os.path.isdir(TASKS) and not self.stop.wait(0.001):
            self.lately.append(len(os.listdir(TASKS)) - threading.active_count())
            if len(self.lately) == self.lately.maxlen:
                self.most = max(self.most, min(self.lately))


def compared(found, expected, where):
    found = list(found)
    if any(one != expected[k % len(expected)] for k, one in enumerate(found)):
        raise AssertionError(f"{where}: other bits")
    return len(found)


def threads_of_threads(k):
    found = [None] * 3

    def inner(i):
        found[i] = work(i)

    inside = [threading.Thread(target=inner, args=(i,)) for i in range(3)]
    for one in inside:
        one.start()
    for one in inside:
        one.join()
    return b"".join(found)


def in_openmp(folder, alone):
    """Work in each thread of somebody's OpenMP region."""
    region = ctypes.CDLL(os.path.join(folder, "region.so")).region
    found = {}
    call = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda k: found.__setitem__(k, work(k % 4)))
    region(call, 8)
    return compared([found[k] for k in range(8)], alone, "OpenMP")


def one_round(alone, runs):
    done = 0
    with ThreadPool(16) as pool:
        done += compared(pool.map(work, [k % 4 for k in range(32)], 1), alone, "ThreadPool(16)")
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(threads_of_threads, range(4))
        done += compared(found, [b"".join(alone[:3])], "threads of threads")
    try:
        import joblib
    except ImportError:
        pass
    else:
        found = joblib.Parallel(n_jobs=8, backend="threading")(
            joblib.delayed(work)(k % 4) for k in range(16)
        )
        done += compared(found, alone, "joblib")
    for hook in HOOKS:
        inner = []

        def inside(inner=inner):
            with fastreg.num_threads(2):
                inner.append(work(1))
            inner.append(trained(1, inside=lambda: inner.append(trained(2))))

        plain = "source" if hook == "source" else "on_train_batch_end"
        done += compared([trained(0, hook, inside)], [runs[plain]], hook)
        done += compared(inner, [alone[1], trained(2), runs[1]], f"within {hook}")
    with ThreadPool(6) as pool:
        done += compared(pool.map(lambda k: trained(1), range(6), 1), [runs[1]], "trainings")
    return done


def main(rounds, folder=None):
    fastreg.set_num_threads(1)
    alone = [work(k) for k in range(4)]
    runs = {"on_train_batch_end": trained(0), "source": trained(0, "source"), 1: trained(1)}
    fastreg.set_num_threads(THREADS)
    planted.pytest_configure()
    count = Count()
    others = len(os.listdir(TASKS)) - 1 if os.path.isdir(TASKS) else 0
    watcher = threading.Thread(target=count.watch)
    watcher.start()
    try:
        done = sum(one_round(alone, runs) for _ in range(rounds))
    finally:
        count.stop.set()
        watcher.join()
    if count.most > others + THREADS - 1:
        raise AssertionError(f"{count.most} native threads, not {others} and the team's helpers")
    if folder:  # its own threads are not ours to count
        done += sum(in_openmp(folder, alone) for _ in range(rounds))
    print(done)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
