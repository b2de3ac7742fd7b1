"""Matrix products against NumPy's: the squares from 32 to 2048 and every product of three networks.

    python benches/products.py [--dtype float64] [--threads 1 2] [--level avx2 --coretype Haswell]

Both write into an array that is there. Two teams in one process would spin beside each other, so
`fastreg.matmul` and `numpy.dot` have a process each and take turns, with equal numbers of threads.
"""

import argparse
import functools
import itertools
import json
import math
import statistics
import sys
import time

import numpy as np
from process import Process

SQUARES = [32, 48, 64, 128, 256, 512, 1024, 2048]
NETWORKS = [(64, (64, 64, 32, 10)), (128, (784, 256, 128, 10)), (128, (784, 1024, 1024, 10))]
ROUNDS = 5
SAMPLE = 0.02  # seconds that a sample lasts at least, after as many to wake the threads
SETTLE = 0.2  # seconds in which the other's threads fall asleep: OpenBLAS's spin for 0.13


def shapes():
    """Yield kind (n: as it lies, t: turned), rows, columns and depth of every product."""
    found = [("nn", n, n, n) for n in SQUARES]
    for batch, sizes in NETWORKS:
        for n_in, n_out in itertools.pairwise(sizes):
            found.append(("nn", batch, n_out, n_in))  # X @ W
            found.append(("tn", n_in, n_out, batch))  # X.T @ dZ
            if n_in != sizes[0]:
                found.append(("nt", batch, n_in, n_out))  # dZ @ W.T
    return sorted(set(found), key=lambda shape: math.prod(shape[1:]))


def sides(kind, rows, cols, depth, dtype):
    """Draw both sides."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((depth, rows) if kind[0] == "t" else (rows, depth)).astype(dtype)
    b = rng.standard_normal((cols, depth) if kind[1] == "t" else (depth, cols)).astype(dtype)
    return a.T if kind[0] == "t" else a, b.T if kind[1] == "t" else b


def worker(contender, threads):
    """Time calls for the process at the other end of the pipes."""
    import fastreg

    fastreg.set_num_threads(threads)
    for line in sys.stdin:
        *shape, dtype = json.loads(line)
        a, b = sides(*shape, dtype)
        out = fastreg.matmul(a, b)
        bound = 2 * (256 + shape[3] / 256) * np.finfo(dtype).eps * (abs(a) @ abs(b)).max()
        assert abs(out - a @ b).max() <= bound
        multiply = fastreg.matmul if contender == "fastreg" else np.dot
        call = functools.partial(multiply, a, b, out=out)
        call()
        print("true", flush=True)
        for line in sys.stdin:
            number = json.loads(line)
            if not number:
                break
            for _ in range(2):  # the first time wakes the threads, and lets them find their cores
                began = time.perf_counter()
                for _ in range(number):
                    call()
            print(json.dumps((time.perf_counter() - began) / number), flush=True)


def measure(workers, shape, dtype):
    """Return the median seconds of each worker."""
    taken = {name: [] for name in workers}
    for each in workers.values():
        each.ask((*shape, dtype))
    numbers = {}
    for name, each in workers.items():
        known = each.ask(3)
        numbers[name] = max(1, math.ceil(SAMPLE / known))
    for _ in range(ROUNDS):
        for name, each in workers.items():
            time.sleep(SETTLE)
            taken[name].append(each.ask(numbers[name]))
    for each in workers.values():
        each.tell(0)
    return {name: statistics.median(times) for name, times in taken.items()}


def main():
    """Measure everything asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--level", help="FASTREG_ISA of fastreg's process")
    parser.add_argument("--coretype", help="OPENBLAS_CORETYPE of NumPy's process")
    parser.add_argument("--largest", type=float, default=math.inf, help="most multiply-adds")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options.worker, options.threads[0])
    own = {"FASTREG_ISA": options.level} if options.level else {}
    theirs = {"OPENBLAS_CORETYPE": options.coretype} if options.coretype else {}
    for threads in options.threads:
        blas = {"OPENBLAS_NUM_THREADS": str(threads)}
        workers = {
            name: Process(__file__, name, "--threads", str(threads), **blas, **environment)
            for name, environment in (("fastreg", own), ("numpy", theirs))
        }
        ratios = {}
        print(f"{options.dtype}, threads: {threads} · GFLOP/s of fastreg, NumPy · ratio")
        for shape in shapes():
            if math.prod(shape[1:]) > options.largest:
                continue
            seconds = measure(workers, shape, options.dtype)
            flops = 2 * math.prod(shape[1:])
            ratios[shape] = seconds["numpy"] / seconds["fastreg"]
            speeds = "".join(f"{flops / seconds[name] / 1e9:8.1f}" for name in workers)
            kind, *sizes = shape
            name = f"{kind} {'x'.join(map(str, sizes))}"
            print(f"  {name:<20}{speeds}   {ratios[shape]:.2f}x", flush=True)
        mean = math.exp(statistics.fmean(map(math.log, ratios.values())))
        print(f"  geometric mean {mean:.2f}x, least {min(ratios.values()):.2f}x", flush=True)
        for each in workers.values():
            each.close()
    return None


if __name__ == "__main__":
    main()
