"""One step of an optimizer on tensors that it knows already."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg import optim, reference
from fastreg.bench.problems import draw

__all__ = ["bytes_moved", "check", "checked", "expected", "inputs", "operations", "twin"]

CALLS = 2  # the first starts from zero state
RATE = 1e-3
SERVICES: dict[str, dict[str, Any]] = {
    "": {},
    "clip_norm": {"clip_norm": 1.0},
    "bfloat16 state": {"state_dtype": "bfloat16", "rng": 0},  # others keep theirs in float32
    "int8 state": {"state_dtype": "int8", "rng": 0},
    "prox+decay+clip+EMA": {
        "lambda_l1": 1e-3, "l1_mode": "prox", "weight_decay": 0.01, "clip_value": 1.0,
        "ema_decay": 0.99,
    },
}  # fmt: skip
#: In whose convention a library's result is.
COMPAT = {
    "torch": "torch", "DeepSpeed": "torch", "JAX": "optax", "Keras": "keras",
}  # fmt: skip
AGAIN = {"LAMB": 3, "LARS": 2}  # arrays that a rule reads again, which measures tensors first


def twin(work: Any, name: str) -> Any:
    """Return the textbook optimizer that steps as this library does.

    Where a library has a rule of this name in a convention that is not known here, or none at all,
    the chapter's is taken, and the check decides.
    """
    cls = getattr(reference, work.name)
    compat = COMPAT.get(name)
    if compat is not None and getattr(optim, work.name)._decays.get(compat) == "no class":
        compat = None
    services = SERVICES[work.form]
    if "state_dtype" in services and name != "fastreg":
        services = {}
    return cls(learning_rate=RATE, compat=compat, **services)


def checked(work: Any) -> Any:
    """Return the same rule on fewer elements."""
    return work.shrunk()


def inputs(work: Any) -> Any:
    """Draw parameters and their gradients, by name.

    Gradients are 0.01 at least: libraries place epsilon differently, which shows beside it alone.
    """
    names, n = [f"w{i}" for i in range(work.count)], work.count
    params = {name: draw(work.shape, work.dtype, seed=i) for i, name in enumerate(names)}
    grads = {
        name: draw(work.shape, work.dtype, seed=n + i, least=0.01) for i, name in enumerate(names)
    }
    return params, grads


def expected(work: Any, arrays: Any, name: str) -> Any:
    """Return the parameters after CALLS steps."""
    params, grads = arrays
    optimizer = twin(work, name)
    for _ in range(CALLS):
        optimizer.update(params, grads)
    return list(params.values())


def check(work: Any, arrays: Any, found: Any, name: str) -> None:
    """Accept fastreg's bits only; from others errors of 0.5 % of what was moved."""
    start = [param.copy() for param in arrays[0].values()]
    exact = expected(work, arrays, name)
    for one, other, before in zip(found, exact, start, strict=True):
        if name == "fastreg":
            np.testing.assert_array_equal(one, other, strict=True)
            continue
        moved = np.abs(other - before).max()
        atol = 5e-3 * moved + 8 * np.finfo(before.dtype).eps * np.abs(before).max()
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)
        assert np.abs(one - before).max() > 0.5 * moved, "the parameters have not moved"


def bytes_moved(work: Any) -> int:
    """Count the gradient once, the parameter and all state twice, and what is read again."""
    rule = getattr(optim, work.name)(**SERVICES[work.form])
    part = rule._updater.bits / 32  # of what floats take
    slots = sum(part if rule._updater.halved(k) else 1 for k in range(len(rule._slot_names())))
    again = AGAIN.get(work.name, 0) + (work.form == "clip_norm")
    return int((3 + 2 * slots + again) * work.elements) * np.dtype(work.dtype).itemsize


def operations(work: Any) -> int:
    """Return nothing: updates are bound by memory."""
    return 0
