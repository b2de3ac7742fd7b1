"""What JAX does under jit, with optax's optimizers; arrays that are updated are given up."""

from __future__ import annotations

import itertools
import os
from functools import partial
from typing import Any

import numpy as np

from fastreg.bench.contenders import MissingError, Repeated
from fastreg.bench.problems import dropout as noise
from fastreg.bench.problems import layer as layers
from fastreg.bench.problems import step as steps
from fastreg.bench.problems import update as updates

__all__ = ["NAME", "dropout", "given", "layer", "loss", "penalty", "product", "step", "update"]

NAME = "JAX"
THREADS = int(os.environ.get("FASTREG_BENCH_THREADS", "1"))
if hasattr(os, "sched_setaffinity"):  # its pool has a thread per core that it finds
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-THREADS:])

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402


def given(form: str) -> dict[str, Any]:
    """Say what takes part."""
    return {"library": f"JAX {jax.__version__}", "form": form, "threads": f"{THREADS} cores"}


#: What makes optax's defaults ours.
OPTIONS: dict[str, Any] = {
    "Momentum": {"momentum": 0.9}, "AdamW": {"weight_decay": 0.01}, "Lion": {"weight_decay": 0.0},
    "AdaGrad": {"initial_accumulator_value": 0.0, "eps": 1e-8},
}  # fmt: skip


def optax_rule(work: Any) -> Any:
    """Return optax's rule of this name."""
    import optax
    import optax.contrib

    name = "sgd" if work.name == "Momentum" else work.name.lower()
    maker = getattr(optax, name, None)
    if work.name == "ScheduleFreeAdamW":
        maker = optax.contrib.schedule_free_adamw
    if maker is None:
        raise MissingError(f"optax has no {work.name}")
    rule = maker(updates.RATE, **OPTIONS.get(work.name, {}))
    if work.form == "clip_norm":
        return optax.chain(optax.clip_by_global_norm(1.0), rule)
    if work.form:
        raise MissingError(f"optax has no {work.form}")
    return rule


def update(work: Any, arrays: Any, form: str) -> Any:
    """Step an optimizer under one jit, in place where XLA can."""
    import optax

    rule = optax_rule(work)
    params, grads = ([jnp.array(array) for array in part.values()] for part in arrays)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, grads):
        moves, state = rule.update(grads, state, params)
        return optax.apply_updates(params, moves), state

    now = [params, jax.tree.map(jnp.array, rule.init(params))]

    def call():
        now[:] = step(*now, grads)
        return jax.block_until_ready(now[0])

    return call, lambda params: [np.asarray(p) for p in params]


NORM_AXES: dict[str, tuple[int, ...]] = {
    "BatchNorm": (0, 2, 3),
    "LayerNorm": (1,),
    "InstanceNorm": (2, 3),
}


def norm(name: str, x: Any, gamma: Any, beta: Any) -> Any:
    """Normalise as the layer of this name does."""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    if name == "RMSNorm":
        y = x * jax.lax.rsqrt((x * x).mean(1, keepdims=True) + 1e-5)
        return y * gamma.reshape(shape)
    if name == "GroupNorm":
        groups = x.reshape(len(x), layers.GROUPS, -1)
        mean, var = groups.mean(2, keepdims=True), groups.var(2, keepdims=True)
        y = ((groups - mean) * jax.lax.rsqrt(var + 1e-5)).reshape(x.shape)
    else:
        axes = tuple(axis for axis in NORM_AXES[name] if axis < x.ndim)
        mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        y = (x - mean) * jax.lax.rsqrt(var + 1e-5)
    return y if name == "InstanceNorm" else y * gamma.reshape(shape) + beta.reshape(shape)


def layer(work: Any, arrays: Any, form: str) -> Any:
    """Go through a layer, and back through all that it has."""
    x, dy, *weights = (jnp.array(array) for array in arrays)
    n = x.shape[1]
    maps = {
        "GELU": jax.nn.gelu, "Tanh": jnp.tanh, "Sigmoid": jax.nn.sigmoid, "ReLU": jax.nn.relu,
        "LeakyReLU": jax.nn.leaky_relu,
    }  # fmt: skip
    own: Any
    forward: Any
    if work.name == "Dense":
        own = (weights[0], jnp.zeros(n, x.dtype))
        forward = lambda x, W, b: x @ W + b  # noqa: E731
    elif work.name in maps:
        own, forward = (), maps[work.name]
    else:
        own = jnp.ones(n, x.dtype), jnp.zeros(n, x.dtype)
        forward = partial(norm, work.name)

    @jax.jit
    def both(x, dy, *own):
        y, back = jax.vjp(forward, x, *own)
        return y, *back(dy)

    if work.form == "forward":
        call = partial(jax.jit(forward), x, *own)
    else:
        call = partial(both, x, dy, *own)
    wanted = 1 if work.form == "forward" else 2
    return lambda: jax.block_until_ready(call()), lambda found: [
        np.asarray(one) for one in (found if isinstance(found, tuple) else (found,))[:wanted]
    ]


def dropout(work: Any, arrays: Any, form: str) -> Any:
    """Draw and choose, with the generator that is the fastest on a CPU."""
    if work.name in ("AlphaDropout", "GaussianDropout"):
        raise MissingError(f"JAX has no {work.name}")
    x = jnp.array(arrays[0])
    drawn = noise.noise_shape(work.name, x.shape)

    @jax.jit
    def drop(key, x):
        key, now = jax.random.split(key)
        keep = jax.random.bernoulli(now, 1 - noise.RATE, drawn)
        return key, jnp.where(keep, x / (1 - noise.RATE), 0)

    state = [jax.random.key(0, impl="rbg")]

    def call():
        state[0], y = drop(state[0], x)
        return y.block_until_ready()

    return call, lambda y: [np.asarray(y)]


def softmax_cross_entropy(z: Any, y: Any) -> Any:
    """Mean over samples."""
    return -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1).mean()


LOSSES: dict[str, Any] = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "binary_cross_entropy": lambda z, y: (jax.nn.softplus(z) - z * y).mean(),
    "mse": lambda z, y: jnp.square(z - y).mean(),
    "mae": lambda z, y: jnp.abs(z - y).mean(),
    "huber": lambda z, y: jnp.where(
        jnp.abs(z - y) <= 1, 0.5 * jnp.square(z - y), jnp.abs(z - y) - 0.5
    ).mean(),
    "poisson": lambda z, y: (jnp.exp(z) - y * z).mean(),
    "quantile": lambda z, y: jnp.maximum(0.5 * (y - z), -0.5 * (y - z)).mean(),
}


def loss(work: Any, arrays: Any, form: str) -> Any:
    """Compute a loss and its gradient."""
    if work.name not in LOSSES:
        raise MissingError(f"nobody has written {work.name} in JAX")
    outputs, targets = map(jnp.array, arrays)
    function = jax.jit(jax.value_and_grad(LOSSES[work.name]))
    return lambda: jax.block_until_ready(function(outputs, targets)), lambda found: [
        float(found[0]), np.asarray(found[1])
    ]  # fmt: skip


PENALTIES: dict[str, Any] = {
    "l1_regularization_loss": lambda ws: 0.01 * sum(jnp.abs(w).sum() for w in ws),
    "l2_regularization_loss": lambda ws: 0.005 * sum(jnp.square(w).sum() for w in ws),
    "l1_gradient": lambda ws: [0.01 * jnp.sign(w) for w in ws],
    "l2_gradient": lambda ws: [0.01 * w for w in ws],
    "soft_threshold": lambda ws: [jnp.sign(w) * jnp.maximum(jnp.abs(w) - 0.01, 0) for w in ws],
    "unit_norm": lambda ws: [w / jnp.linalg.norm(w, axis=0) for w in ws],
}


def penalty(work: Any, arrays: Any, form: str) -> Any:
    """Compute a penalty as one writes it."""
    if work.name not in PENALTIES:
        raise MissingError(f"nobody has written {work.name} in JAX")
    weights = [jnp.array(array) for array in arrays]
    function = jax.jit(PENALTIES[work.name])
    return lambda: jax.block_until_ready(function(weights)), lambda found: [
        np.asarray(one) for one in (found if isinstance(found, list) else [found])
    ]


def product(work: Any, arrays: Any, form: str) -> Any:
    """Multiply."""
    turned = [side == "t" for side in work.form]
    a, b = (jnp.array(side.T if t else side) for side, t in zip(arrays, turned, strict=True))

    @jax.jit
    def multiply(a, b):
        return (a.T if turned[0] else a) @ (b.T if turned[1] else b)

    return lambda: multiply(a, b).block_until_ready(), lambda out: [np.asarray(out)]


def step(work: Any, arrays: Any, form: str) -> Any:
    """Take the steps of an epoch under one jit: a scan over its batches."""
    import optax

    _, sizes, batch_norm, drop, rate = steps.plan(work)
    X, y, weights = arrays
    count = steps.EPOCH if work.name == "step" else 1
    rule = optax.adamw(rate, weight_decay=0.01)

    def forward(params, running, key, x, labels):
        moved = []
        keys = jax.random.split(key, len(params))
        for i, (p, drawn) in enumerate(zip(params[:-1], keys, strict=False)):
            x = x @ p["W"]
            if batch_norm:
                mean, var = x.mean(0), x.var(0)
                x = (x - mean) * jax.lax.rsqrt(var + 1e-5) * p["gamma"] + p["beta"]
                now = zip(running[i], (mean, var), strict=True)
                moved.append(tuple(0.9 * old + 0.1 * new for old, new in now))
            else:
                x = x + p["b"]
            x = jax.nn.relu(x)
            if drop:
                keep = jax.random.bernoulli(drawn, 1 - drop, x.shape)
                x = jnp.where(keep, x / (1 - drop), 0)
        value = softmax_cross_entropy(x @ params[-1]["W"] + params[-1]["b"], labels)
        return value, moved

    def one(state, batch):
        params, memory, running, key = state
        key, drawn = jax.random.split(key)
        slopes = jax.value_and_grad(forward, has_aux=True)
        (value, running), grads = slopes(params, running, drawn, *batch)
        moves, memory = rule.update(grads, memory, params)
        return (optax.apply_updates(params, moves), memory, running, key), value

    @partial(jax.jit, donate_argnums=0)
    def epoch(state, batches):
        return jax.lax.scan(one, state, batches)

    params = []
    for i, W in enumerate(weights):
        n = W.shape[1]
        normed = batch_norm and i < len(weights) - 1
        more = {"gamma": np.ones(n), "beta": np.zeros(n)} if normed else {"b": np.zeros(n)}
        params.append({name: jnp.asarray(a, W.dtype) for name, a in ({"W": W} | more).items()})
    running = [
        (jnp.zeros(n, X.dtype), jnp.ones(n, X.dtype))
        for n in itertools.islice(sizes, 1, len(sizes) - 1)
        if batch_norm
    ]
    state = [(params, rule.init(params), running, jax.random.key(0, impl="rbg"))]
    batches = jnp.tile(jnp.array(X), (count, 1, 1)), jnp.tile(jnp.array(y), (count, 1))

    def call():
        state[0], values = epoch(state[0], batches)
        values.block_until_ready()

    return Repeated(call, count), lambda _: [np.asarray(p["W"]) for p in state[0][0]]
