"""What threads cost and give: kernels alone, and between products on BLAS's threads.

    python benches/threads.py [--seconds 8] [--base TREE] [--only loop]

Medians and 99th percentiles of single calls, on a quiet machine and beside a process that keeps
one core busy, without and with pauses. The contenders take turns block by block: the default, one
thread, two, the formulas in NumPy, the products alone, and with ``--base`` the default of another
build of fastreg. That one runs in a process of its own, because two builds bring two teams.
Blocks beside which anything else ran are taken again (on Linux).
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time

import numpy as np
from process import Process

WORK = {  # what is timed, seconds between calls
    "loop 128x784x256": ("loop", (128, 784, 256), 0),
    "loop 512x1024x1024": ("loop", (512, 1024, 1024), 0),
    "Adam 100 K": ("adam", (100_000,), 0),
    "Adam 100 K, pauses": ("adam", (100_000,), 5e-3),
    "Adam 1 M": ("adam", (1_000_000,), 0),
    "Adam 1 M, pauses": ("adam", (1_000_000,), 5e-3),
    "Adam 25 M": ("adam", (25_000_000,), 0),
    "BatchNorm 4096x1024": ("norm", (4096, 1024), 0),
    "Dropout 1 M": ("dropout", (1000, 1000), 0),
    "Dropout 1 M, pauses": ("dropout", (1000, 1000), 5e-3),
}
TARGETS = {  # (loop?, busy?): contender, factor, statistic, against, statistic
    (True, False): [("default", 1.1, 50, "1 or 2", 50), ("default", 0.4, 50, "NumPy", 50)],
    (True, True): [("default", 1.2, 50, "1", 50), ("default", 2.0, 99, "1", 99)],
    (False, False): [("default", 1.05, 50, "base", 50)],
    (False, True): [("default", 1.2, 50, "1", 50), ("default", 3.0, 99, "1", 99)],
}
CALLS = 1000  # of each contender, if there is time
FOREIGN = 0.05  # cores' worth of other processes that a block may have beside it
SETTLE = 0.25  # seconds in which the contender before, its BLAS too, falls asleep


def draw(*shape):
    """Standard normal numbers, always the same."""
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def loop(library, n, n_in, n_out):
    """Take a training step of one layer by hand, as in the README."""
    X, W, dH = draw(n, n_in), draw(n_in, n_out) * np.float32(0.05), draw(n, n_out)
    norm, drop = library.BatchNorm(n_out), library.Dropout(0.5, rng=0)
    optimizer, params = library.Adam(1e-3), {"W": W}

    def call():
        drop.forward(norm.forward(X @ W))
        dZ = norm.backward(drop.backward(dH))
        optimizer.update(params, {"W": X.T @ dZ})

    return call


def products(n, n_in, n_out):
    """Do the loop's products alone."""
    X, W, dZ = draw(n, n_in), draw(n_in, n_out), draw(n, n_out)
    return lambda: (X @ W, X.T @ dZ)


def adam(library, size):
    """Update one tensor."""
    optimizer, params, grads = library.Adam(1e-3), {"w": draw(size)}, {"w": draw(size)}
    return lambda: optimizer.update(params, grads)


def norm(library, *shape):
    """Take the training forward pass of a batch norm."""
    layer, X = library.BatchNorm(shape[1]), draw(*shape)
    return lambda: layer.forward(X)


def dropout(library, *shape):
    """Drop half of the elements."""
    layer, X = library.Dropout(0.5, rng=0), draw(*shape)
    return lambda: layer.forward(X)


def worker():
    """Time blocks of calls for the process at the other end of the pipes."""
    import fastreg
    from fastreg import reference

    calls = {}
    for line in sys.stdin:
        name, contender, number = json.loads(line)
        kind, size, pause = WORK[name]
        if (name, contender) not in calls:
            calls = {key: call for key, call in calls.items() if key[0] == name}
            library = reference if contender == "NumPy" else fastreg
            make = products if contender == "products" else globals()[kind]
            calls[name, contender] = make(*([library] * (make is not products)), *size)
        call, taken = calls[name, contender], []
        threads = fastreg.num_threads(int(contender)) if contender in "12" else None
        with threads or contextlib.nullcontext():
            call()
            for _ in range(number):
                time.sleep(pause) if pause else None
                start = time.perf_counter()
                call()
                taken.append(time.perf_counter() - start)
        print(json.dumps(taken), flush=True)


class Worker(Process):
    """A process that times calls with the fastreg of one tree."""

    def time(self, *what, neighbour=None):
        """Seconds of each call of a block."""
        for _ in range(40):
            time.sleep(SETTLE)
            began, before = time.perf_counter(), foreign(self.process, neighbour)
            taken = self.ask(what)
            beside = foreign(self.process, neighbour) - before
            if beside < FOREIGN * (time.perf_counter() - began) + 0.02:  # two ticks
                return taken
        print("  (not alone)", end=" ")
        return taken


def foreign(*own):
    """Seconds that the cores spent on other processes than these."""
    if not os.path.exists("/proc/stat"):
        return 0.0
    tick = os.sysconf("SC_CLK_TCK")
    with open("/proc/stat") as file:
        user, nice, system, _, _, *more = map(int, file.readline().split()[1:8])
    ticks = user + nice + system + sum(more)
    for process in own:
        if process is not None:
            with open(f"/proc/{process.pid}/stat") as file:
                ticks -= sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13]))
    return ticks / tick


def measure(name, workers, seconds, neighbour):
    """Microseconds of calls, by contender."""
    is_loop = name.startswith("loop")
    contenders = ["default", "1", "2"] + ["base"] * ("base" in workers)
    taken = {contender: [] for contender in contenders + ["NumPy", "products"] * is_loop}
    while True:
        running = [
            contender
            for contender, times in taken.items()
            if len(times) < (CALLS // 10 if contender == "NumPy" else CALLS)
            and sum(times) < seconds
        ]
        if not running:
            return {contender: 1e6 * np.array(times) for contender, times in taken.items()}
        for contender in running:
            known = np.median(taken[contender]) if taken[contender] else 0.01
            number = int(np.clip(0.4 / known, 5, 200))
            which = ("base", "default") if contender == "base" else ("own", contender)
            taken[contender] += workers[which[0]].time(name, which[1], number, neighbour=neighbour)


def verdicts(name, busy, times):
    """Say of each target whether it is met."""
    for contender, factor, statistic, against, of in TARGETS[name.startswith("loop"), busy]:
        others = against.split(" or ")
        if all(other in times for other in others):
            value = np.percentile(times[contender], statistic)
            ratio = value / min(np.percentile(times[other], of) for other in others)
            what = "median" if statistic == 50 else "p99"
            mark = "met" if ratio <= factor else "MISSED"
            yield f"{what} {ratio:.2f}x {against} (<= {factor:g}: {mark})"


def main():
    """Measure everything asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="time for each contender")
    parser.add_argument("--base", metavar="TREE", help="another tree with a build in place")
    parser.add_argument("--only", default="", help="work whose name has this in it")
    parser.add_argument("--busy", choices=("no", "yes", "both"), default="both")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker()
    workers = {"own": Worker(__file__)}
    if options.base:
        workers["base"] = Worker(__file__, tree=options.base)
    for busy in {"no": [False], "yes": [True], "both": [False, True]}[options.busy]:
        spin = [sys.executable, "-c", "while True: pass"]
        neighbour = subprocess.Popen(spin) if busy else None
        print("beside a busy process" if busy else "quiet", "· median (p99) in µs", flush=True)
        try:
            for name in filter(lambda name: options.only in name, WORK):
                times = measure(name, workers, options.seconds, neighbour)
                row = [f"{c} {np.median(t):.0f} ({np.percentile(t, 99):.0f})"
                       for c, t in times.items()]  # fmt: skip
                print(f"  {name:<20}", " · ".join(row), flush=True)
                print(f"  {'':<20}", "; ".join(verdicts(name, busy, times)), flush=True)
        finally:
            if neighbour:
                neighbour.kill()
    return None


if __name__ == "__main__":
    main()
