"""Activations forward and backward against torch's, each contender in a process of its own.

    python benches/activations.py [--seconds 2] [--only gelu]

Median milliseconds for 4096 x 1024 numbers in float32; torch at its better of one and two threads.
GELU is the form with tanh in both. Before anything is timed, results are compared with
`fastreg.reference` bit for bit.
"""

import argparse
import json
import subprocess
import sys
import time

import numpy as np

SHAPE, TARGET = (4096, 1024), 1.5
KINDS = {"gelu": "GELU", "tanh": "Tanh", "sigmoid": "Sigmoid"}
CONTENDERS = ("fastreg", "torch 1", "torch 2")
SETTLE = 0.3  # seconds until the threads of the contender before are asleep


def ours(kind, X, dY):
    """Return a call of our layer, which has been compared with its twin."""
    from fastreg import nn, reference

    layer, twin = getattr(nn, KINDS[kind])(), getattr(reference, KINDS[kind])()
    few, gradient = X[:40], dY[:40]
    assert (layer.forward(few) == twin.forward(few)).all()
    assert (layer.backward(gradient) == twin.backward(gradient)).all()

    def call():
        layer.forward(X)
        layer.backward(dY)

    return call


def theirs(kind, threads, X, dY):
    """Return a call of torch's function, or None without torch."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)
    x, dy = torch.from_numpy(X).requires_grad_(), torch.from_numpy(dY)

    def call():
        x.grad = None
        if kind == "gelu":
            torch.nn.functional.gelu(x, approximate="tanh").backward(dy)
        else:
            getattr(torch, kind)(x).backward(dy)

    return call


def worker():
    """Time calls for the process at the other end of the pipes and print their milliseconds."""
    contender, kind, seconds = json.loads(sys.stdin.readline())
    rng = np.random.default_rng(0)
    X, dY = (rng.standard_normal(SHAPE, dtype=np.float32) for _ in range(2))
    name, _, threads = contender.partition(" ")
    call = ours(kind, X, dY) if name == "fastreg" else theirs(kind, int(threads), X, dY)
    taken, end = [], time.perf_counter() + seconds
    while call and time.perf_counter() < end:
        start = time.perf_counter()
        call()
        taken.append(1e3 * (time.perf_counter() - start))
    print(json.dumps(float(np.median(taken)) if taken else None))


def measure(contender, kind, seconds):
    """Return a contender's median milliseconds in a process of its own, or None."""
    time.sleep(SETTLE)
    line = json.dumps((contender, kind, seconds))
    command = [sys.executable, __file__, "--worker"]
    found = subprocess.run(command, input=line, text=True, capture_output=True, check=True)
    return json.loads(found.stdout)


def main():
    """Measure the activations asked for and print them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each contender")
    parser.add_argument("--only", default="", help="activations whose name has this in it")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker()
    for kind in (kind for kind in KINDS if options.only in kind):
        found = {one: measure(one, kind, options.seconds) for one in CONTENDERS}
        found = {one: ms for one, ms in found.items() if ms}
        print(f"{kind}:", " · ".join(f"{one} {ms:.2f} ms" for one, ms in found.items()), flush=True)
        peers = [ms for one, ms in found.items() if one != "fastreg"]
        if peers:
            ratio = min(peers) / found["fastreg"]
            verdict = "met" if ratio >= TARGET else "MISSED"
            print(f"  torch takes {ratio:.2f} times as long (>= {TARGET}: {verdict})", flush=True)
    return None


if __name__ == "__main__":
    main()
