"""Instructions per call of every kernel, counted by callgrind: they do not depend on the weather.

    python benches/instructions.py                      # of this tree
    python benches/instructions.py --base main          # beside another commit; 1 if one is worse
    python benches/instructions.py --level base avx2 --limit 2

Wall times differ by a tenth from run to run on a shared machine; counts of instructions are the
same to some hundreds, which Python and the allocator spend. They say nothing about memory and
caches, and valgrind knows no AVX-512: its kernels are the same lines, compiled for other registers.
"""

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

TREE = Path(__file__).resolve().parents[1]
#: What a process tells callgrind: forget what was counted, write it down.
MARKS = """
#include <valgrind/callgrind.h>
void forget(void) { CALLGRIND_ZERO_STATS; }
void note(void) { CALLGRIND_DUMP_STATS; }
"""
CALLS = 3
SHAPE = (512, 160)


def calls():
    """Yield (name, call) of everything, by names that every version has."""
    import numpy as np

    import fastreg
    from fastreg import dropout, nn, norm, optim

    for dtype in (np.float32, np.float64):
        rng, kind = np.random.default_rng(0), np.dtype(dtype).name
        X, dY = (rng.standard_normal(SHAPE, dtype=dtype) for _ in range(2))
        W = rng.standard_normal((SHAPE[1], SHAPE[1]), dtype=dtype)
        for name in optim.__all__:
            rule, params = getattr(optim, name)(), {"w": X.copy()}
            yield f"{name} {kind}", partial(rule.update, params, {"w": dY})
        layers = {name: (SHAPE[1],) for name in norm.__all__} | {"GroupNorm": (8, SHAPE[1])}
        del layers["InstanceNorm"]  # of rows of one element
        layers |= dict.fromkeys(dropout.__all__, (0.5,))
        layers |= dict.fromkeys(("ReLU", "LeakyReLU", "Tanh", "Sigmoid", "GELU"), ())
        for name, arguments in layers.items():
            options = {"rng": 0} if name in dropout.__all__ else {}
            shape = (*SHAPE, 1) if name == "SpatialDropout" else SHAPE
            layer = getattr(fastreg if hasattr(fastreg, name) else nn, name)(*arguments, **options)
            yield f"{name} forward {kind}", partial(layer.forward, X.reshape(shape))
            yield f"{name} backward {kind}", partial(layer.backward, dY.reshape(shape))
        labels, targets = rng.integers(0, SHAPE[1], SHAPE[0]), (dY > 0).astype(dtype)
        for name in nn.losses.__all__:
            y = labels if name == "softmax_cross_entropy" else targets
            yield f"{name} {kind}", partial(getattr(nn, name), X, y)
        yield (
            f"penalty_and_gradient {kind}",
            partial(fastreg.penalty_and_gradient, X, lambda_l1=0.1, lambda_l2=0.1),
        )
        yield f"soft_threshold {kind}", partial(fastreg.soft_threshold, X, 0.1)
        yield f"matmul {kind}", partial(fastreg.matmul, X, W)
        yield f"matmul, turned {kind}", partial(fastreg.matmul, X.T, dY)


def worker(only, marks):
    """Make the calls, and note what each took; print their names."""
    import fastreg

    fastreg.set_num_threads(1)
    gc.disable()
    marks = ctypes.CDLL(marks)
    marks.forget(), marks.note()  # the first time finds the functions
    for name, call in calls():
        if only not in name:
            continue
        for _ in range(2):
            call()
        for _ in range(CALLS):
            marks.forget()
            call()
            marks.note()
        print(name, flush=True)


def count(tree, level, only):
    """Return the fewest instructions of a call by name, of the build in a tree."""
    with tempfile.TemporaryDirectory() as folder:
        compiler = os.environ.get("CC", "cc").split()
        build = [*compiler, "-shared", "-fPIC", "-O1", "-o", f"{folder}/marks.so", "-xc", "-"]
        subprocess.run(build, input=MARKS, text=True, check=True)
        command = [
            "valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", "-q",
            sys.executable, __file__, "--worker", f"{folder}/marks.so", "--only", only,
        ]  # fmt: skip
        env = os.environ | {"PYTHONPATH": str(tree), "FASTREG_ISA": level, "PYTHONHASHSEED": "0"}
        env |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONMALLOC": "malloc"}
        ran = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
        found, number = {}, 1
        for name in ran.stdout.splitlines():
            found[name] = min(total(f"{folder}/out.{number + i}") for i in range(1, CALLS + 1))
            number += CALLS
    return found


def total(path):
    """Return the instructions of one note."""
    with open(path, encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("totals:"))


def built(ref):
    """Return a tree of another commit with a build in place; it is kept for the next time."""
    commit = subprocess.check_output(["git", "rev-parse", ref], cwd=TREE, text=True).strip()
    tree = TREE / "build" / "instructions" / commit
    if not tree.exists():
        subprocess.run(["git", "worktree", "prune"], cwd=TREE, check=True)
        subprocess.run(["git", "worktree", "add", "-qf", "--detach", tree, commit], cwd=TREE,
                       check=True)  # fmt: skip
    subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=tree,
                   check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    return tree


def compared(before, now, limit):
    """Yield (line, whether it is worse) for each call: the counts, and the change in per cent."""
    for name, own in now.items():
        if name not in before:
            yield f"{name:<42}{own:>12,}", False
            continue
        change = 100 * (own / before[name] - 1)
        worse = change > limit
        mark = "  WORSE" if worse else ""
        yield f"{name:<42}{before[name]:>12,}{own:>12,}{change:>+8.2f} %{mark}", worse


def main():
    """Count, and compare where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--base", metavar="REF", help="a commit to compare with")
    parser.add_argument("--level", nargs="+", default=["avx2"], choices=("base", "avx2"))
    parser.add_argument("--limit", type=float, default=1.0, help="per cent more that are allowed")
    parser.add_argument("--only", default="", help="calls whose name has this in it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts there, too")
    parser.add_argument("--worker", metavar="LIBRARY", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options.only, options.worker)
    other, found, failed = built(options.base) if options.base else None, {}, False
    for level in options.level:
        found[level] = count(TREE, level, options.only)
        before = count(other, level, options.only) if other else {}
        print(f"{level}: instructions per call on {'x'.join(map(str, SHAPE))} elements")
        for line, worse in compared(before, found[level], options.limit):
            print(" ", line)
            failed |= worse
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
