"""fastreg.torch beside torch: steps of optimizers, modules, a whole training step.

    python benches/torch_loops.py [--seconds 2] [--only dropout]

Median microseconds with 2 threads each. Each contender has a process of its own, and they take
turns: torch's threads spin for a while after each call, on the cores of whoever comes next. Every
result is compared with torch's before it is timed. `bare` is fastreg's own layer over arrays,
`nothing` an autograd.Function that computes nothing: what a module takes beyond both is its own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

THREADS = 2
SETTLE = 0.3
NORMED = [(64, 64), *[(64,)] * 3, (64, 64), *[(64,)] * 3, (32, 64), (32,), (10, 32), (10,)]
LARGE = [(25_000_000,)]
#: work: (kind, what it is made of, {contender: at least so many times as slow}, most microseconds)
WORK = {
    "AdamW 64-64-32-10, 12 tensors": ("AdamW", NORMED, {"fused": 4, "default": 15}, 25),
    "AdamW 200 x 1 K": ("AdamW", [(1000,)] * 200, {"fused": 8}, None),
    "AdamW 25 M": ("AdamW", LARGE, {"fused": 1.0}, None),
    **{
        f"{name} 25 M": (name, LARGE, {"default": 4, "foreach": 4}, None)
        for name in ("RMSprop", "NAdam", "RAdam", "Adamax", "Adadelta")
    },
    "Dropout 4096x1024": ("Dropout", (4096, 1024), {"default": 15}, None),
    "BatchNorm2d 32x64x56x56": ("BatchNorm2d", (32, 64, 56, 56), {"default": 2}, None),
    "LayerNorm 4096x1024": ("LayerNorm", (4096, 1024), {"default": 1.2}, None),
    "Dropout 16x32": ("Dropout", (16, 32), {}, None),
    "LayerNorm 16x32": ("LayerNorm", (16, 32), {}, None),
    "step 784-256-128-10": ("step", (784, 256, 128, 10), {"fused": 1.4}, None),
}
BARE = {"Dropout": "Dropout", "LayerNorm": "LayerNorm"}


def contenders(work):
    """Who takes part."""
    kind, what, goals, _ = WORK[work]
    bare = ["bare"] if kind in BARE and what == (16, 32) else []
    return ["fastreg", *goals, *bare] + (["nothing"] if bare else [])


def optimizer_of(contender, name, params):
    """Return an optimizer of this kind."""
    import torch

    import fastreg.torch

    if contender == "fastreg":
        return getattr(fastreg.torch, name)(params)
    settings = {"fused": {"fused": True}, "foreach": {"foreach": True}}.get(contender, {})
    return getattr(torch.optim, name)(params, **settings)


def stepping(contender, name, shapes):
    """Return a step of an optimizer."""
    import torch

    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    for p in params:
        p.grad = torch.randn_like(p)
    optimizer = optimizer_of(contender, name, params)
    optimizer.step()
    if shapes is not LARGE:
        twins = [torch.nn.Parameter(p.detach().clone()) for p in params]
        for p, q in zip(params, twins, strict=True):
            q.grad = p.grad
        a = optimizer_of(contender, name, params)
        b = getattr(torch.optim, name)(twins)
        a.step(), b.step()
        torch.testing.assert_close(params, twins)
    return optimizer.step


def passing(contender, name, shape):
    """Return a forward and backward pass of a module."""
    import torch

    import fastreg
    import fastreg.torch

    x, dy = torch.randn(shape, requires_grad=True), torch.randn(shape)
    features = shape[1] if name == "BatchNorm2d" else shape[-1]
    size = 0.5 if name == "Dropout" else features
    if contender == "bare":
        layer = getattr(fastreg, BARE[name])(size)
        X, dY = x.detach().numpy(), dy.numpy()
        return lambda: (layer.forward(X), layer.backward(dY))
    module = getattr(fastreg.torch if contender == "fastreg" else torch.nn, name)(size)
    if contender == "nothing":
        function, more = empty_function(), [torch.ones(features, requires_grad=True) for _ in "wb"]
        inputs = (x, *more) if name == "LayerNorm" else (x,)
        return lambda: torch.autograd.grad(function.apply(*inputs), inputs, dy)
    if name != "Dropout":
        theirs = getattr(torch.nn, name)(size)
        torch.testing.assert_close(module(x), theirs(x), rtol=1e-3, atol=1e-4)
    inputs = (x, *module.parameters())
    return lambda: torch.autograd.grad(module(x), inputs, dy)


def empty_function():
    """Return what autograd takes for a function in Python that computes nothing."""
    import torch

    class Nothing(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, *more):
            ctx.save_for_backward(*more)
            return x.detach()

        @staticmethod
        def backward(ctx, dy):
            return dy, *ctx.saved_tensors

    return Nothing


def training(contender, sizes):
    """Return a step of a network with norms and dropout."""
    import torch

    import fastreg.torch

    nn, layers = torch.nn, []
    for n_in, n_out in zip(sizes[:-2], sizes[1:-1], strict=True):
        layers += [nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.ReLU(), nn.Dropout(0.5)]
    model = nn.Sequential(*layers, nn.Linear(*sizes[-2:]))
    if contender == "fastreg":
        fastreg.torch.accelerate(model)
    optimizer = optimizer_of(contender, "AdamW", list(model.parameters()))
    x, y = torch.randn(128, sizes[0]), torch.randint(0, sizes[-1], (128,))

    def step():
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def call_of(contender, work):
    """Return what is timed."""
    kind, what, _, _ = WORK[work]
    if kind == "step":
        return training(contender, what)
    if isinstance(what, list):
        return stepping(contender, kind, what)
    return passing(contender, kind, what)


def worker(contender, work):
    """Time calls for the process at the other end of the pipes."""
    import torch

    torch.set_num_threads(THREADS)
    call = call_of(contender, work)
    for _ in range(3):
        call()
    for line in sys.stdin:
        end, times = time.perf_counter() + float(line), []
        while time.perf_counter() < end or len(times) < 3:
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        print(json.dumps(statistics.median(times) * 1e6), flush=True)


def measure(work, seconds, rounds=5):
    """Return median microseconds by contender, which take turns."""
    processes = {
        contender: subprocess.Popen(
            [sys.executable, __file__, "--worker", contender, "--work", work],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for contender in contenders(work)
    }  # fmt: skip
    medians = {contender: [] for contender in processes}
    try:
        for _ in range(rounds):
            for contender, process in processes.items():
                print(seconds / rounds, file=process.stdin, flush=True)
                medians[contender].append(json.loads(process.stdout.readline()))
                time.sleep(SETTLE)
    finally:
        for process in processes.values():
            process.stdin.close()
            process.wait()
    return {contender: statistics.median(times) for contender, times in medians.items()}


def main():
    """Print one line per work."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--only", default="")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return worker(arguments.worker, arguments.work)
    for work, (_, _, goals, most) in WORK.items():
        if arguments.only.lower() not in work.lower():
            continue
        found = measure(work, arguments.seconds)
        own = found["fastreg"]
        words = [f"{work:32}", f"{own:10.1f} us"]
        for contender, took in found.items():
            if contender != "fastreg":
                goal = goals.get(contender)
                mark = "" if goal is None else f" {'✓' if took >= goal * own else '✗'} >= {goal}"
                words.append(f"{contender} {took:.1f} us = {took / own:.2f}x{mark}")
        if most is not None:
            words.append(f"{'✓' if own <= most else '✗'} <= {most} us")
        print("  ".join(words), flush=True)
    return None


if __name__ == "__main__":
    main()
