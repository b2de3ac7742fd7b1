"""What fastreg does."""

from __future__ import annotations

import itertools
import os
from functools import partial
from typing import Any

import numpy as np

import fastreg
from fastreg import nn, optim
from fastreg._core import _kernels
from fastreg.bench.contenders import Repeated
from fastreg.bench.problems import dropout as noise
from fastreg.bench.problems import layer as layers
from fastreg.bench.problems import penalty as penalties
from fastreg.bench.problems import step as steps
from fastreg.bench.problems import update as updates

__all__ = ["NAME", "dropout", "given", "layer", "loss", "penalty", "product", "step", "update"]

NAME = "fastreg"
THREADS = int(os.environ.get("FASTREG_BENCH_THREADS", "1"))


def given(form: str) -> dict[str, Any]:
    """Set the number of threads, once in a process of its own; say what takes part."""
    fastreg.set_num_threads(THREADS if THREADS == 1 else None)  # None: each call chooses
    return {
        "library": f"fastreg {fastreg.__version__}",
        "form": form,
        "threads": f"up to {fastreg.get_num_threads()}, as each call chooses" if THREADS > 1 else 1,
        "level": _kernels.level(),
    }


def update(work: Any, arrays: Any, form: str) -> Any:
    """Step an optimizer."""
    params, grads = arrays
    rule = getattr(optim, work.name)(updates.RATE, **updates.SERVICES[work.form])
    return partial(rule.update, params, grads), lambda _: list(params.values())


def passes(made: Any, work: Any, x: Any, dy: Any) -> Any:
    """Return the call of a layer's forward pass, or of both passes."""
    if work.form == "forward":
        return partial(made.forward, x), lambda y: [y]
    return lambda: (made.forward(x), made.backward(dy)), list


def layer(work: Any, arrays: Any, form: str) -> Any:
    """Go through a layer."""
    x, dy, *weights = arrays
    module = fastreg if hasattr(fastreg, work.name) else nn
    options: Any = {"dtype": work.dtype} if weights else {}
    made = getattr(module, work.name)(*layers.arguments(work), **options)
    if weights:
        made.W[...] = weights[0]
    return passes(made, work, x, dy)


def dropout(work: Any, arrays: Any, form: str) -> Any:
    """Drop."""
    made = getattr(fastreg, work.name)(noise.RATE, rng=0)
    return partial(made.forward, arrays[0]), lambda y: [y]


def loss(work: Any, arrays: Any, form: str) -> Any:
    """Compute a loss and its gradient."""
    return partial(getattr(nn, work.name), *arrays), list


def penalty(work: Any, arrays: Any, form: str) -> Any:
    """Compute a penalty."""
    call = penalties.FORMS[work.name][0]
    return partial(call, fastreg, arrays), lambda found: list(penalties.flat(found))


def product(work: Any, arrays: Any, form: str) -> Any:
    """Multiply."""
    a, b = arrays
    out = np.empty((len(a), b.shape[1]), a.dtype)
    return partial(fastreg.matmul, a, b, out=out), lambda _: [out]


def step(work: Any, arrays: Any, form: str) -> Any:
    """Take a step in a loop of one's own, or of an epoch of ``Trainer.fit``; or only multiply."""
    X, y, weights = arrays
    if form == "products" and work.name == "step":
        return products(X, weights), None
    parts: Any = steps.network(fastreg, work, weights)
    dense = [one for one in parts[0].layers if hasattr(one, "W")]
    call: Any = partial(steps.take, *parts, X, y)
    if form == "fit" and work.name == "step":
        from fastreg.train import Trainer

        run = Trainer(*parts, rng=0, progress=False)
        data = np.tile(X, (steps.EPOCH, 1)), np.tile(y, steps.EPOCH)
        fit = partial(run.fit, *data, epochs=1, batch_size=len(X))
        call = Repeated(fit, steps.EPOCH)
    return call, lambda _: [one.W for one in dense]


def products(X: Any, weights: Any) -> Any:
    """Do a step's matrix products and nothing else."""
    batch = len(X)
    chain = []
    for W in weights:
        inputs, slopes = (np.resize(X, (batch, n)) for n in W.shape)
        chain.append((inputs, W, slopes))

    def call():
        for (inputs, W, slopes), follows in zip(
            chain, itertools.chain([False], itertools.repeat(True)), strict=False
        ):
            fastreg.matmul(inputs, W)
            fastreg.matmul(inputs.T, slopes)
            if follows:
                fastreg.matmul(slopes, W.T)

    return call
