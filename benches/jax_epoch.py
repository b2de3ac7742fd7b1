"""An epoch of training in JAX in its strongest form: one jit over a scan of all batches."""

import functools
import itertools

import numpy as np

BETA1, BETA2, EPSILON, DECAY, MOMENTUM = 0.9, 0.999, 1e-8, 0.01, 0.9


def epoch(sizes, batch_norm, dropout, rate, X, y):
    """Return a call that trains an epoch with AdamW, X of shape (batches, batch, features).

    None where JAX (extra `bench-peers`) is not installed.
    """
    try:
        import jax
    except ModuleNotFoundError:
        return None
    jnp, key = jax.numpy, jax.random.key(0, impl="rbg")  # on a CPU faster than the default
    rng = np.random.default_rng(0)

    def layer(n_in, n_out, is_last):
        found = {"W": np.sqrt(2 / n_in) * rng.standard_normal((n_in, n_out))}
        if batch_norm and not is_last:
            found |= {"gamma": np.ones(n_out), "beta": np.zeros(n_out)}
        else:
            found["b"] = np.zeros(n_out)
        return {name: jnp.asarray(array, jnp.float32) for name, array in found.items()}

    params = [layer(*pair, i == len(sizes) - 2) for i, pair in enumerate(itertools.pairwise(sizes))]
    running = [(jnp.zeros(n), jnp.ones(n)) for n in sizes[1:-1] if batch_norm]

    def loss(params, running, key, x, labels):
        moved = []
        for i, (p, drawn) in enumerate(
            zip(params[:-1], jax.random.split(key, len(sizes)), strict=False)
        ):
            x = x @ p["W"]
            if batch_norm:
                mean, var = x.mean(0), x.var(0)
                x = (x - mean) * jax.lax.rsqrt(var + 1e-5) * p["gamma"] + p["beta"]
                before = running[i]
                moved.append(tuple(
                    MOMENTUM * old + (1 - MOMENTUM) * new
                    for old, new in zip(before, (mean, var), strict=True)
                ))  # fmt: skip
            else:
                x = x + p["b"]
            x = jax.nn.relu(x)
            if dropout:
                x = jnp.where(jax.random.bernoulli(drawn, 1 - dropout, x.shape), x, 0)
                x = x / (1 - dropout)
        logs = jax.nn.log_softmax(x @ params[-1]["W"] + params[-1]["b"])
        return -jnp.take_along_axis(logs, labels[:, None], 1).mean(), moved

    def step(state, batch):
        params, first, second, running, key, t = state
        key, drawn = jax.random.split(key)
        slopes = jax.value_and_grad(loss, has_aux=True)
        (value, running), grads = slopes(params, running, drawn, *batch)
        t = t + 1
        first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, grads)
        second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, grads)

        def update(p, m, v):
            m, v = m / (1 - BETA1**t), v / (1 - BETA2**t)
            return p * (1 - rate * DECAY) - rate * m / (jnp.sqrt(v) + EPSILON)

        params = jax.tree.map(update, params, first, second)
        return (params, first, second, running, key, t), value

    @functools.partial(jax.jit, donate_argnums=0)
    def scanned(state, batches):
        return jax.lax.scan(step, state, batches)

    zeros = jax.tree.map(jnp.zeros_like, (params, params))
    state = [(params, *zeros, running, key, jnp.float32(0))]
    batches = jnp.asarray(X), jnp.asarray(y, jnp.int32)

    def call():
        state[0], values = scanned(state[0], batches)
        values.block_until_ready()
        return values

    return call
