"""What Keras does on JAX, in its stateless form under jit, which is its fastest on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg.bench.contenders import MissingError, Repeated
from fastreg.bench.contenders import jax as backend
from fastreg.bench.problems import dropout as noise
from fastreg.bench.problems import layer as layers
from fastreg.bench.problems import step as steps
from fastreg.bench.problems import update as updates

import jax  # isort: skip
import keras  # isort: skip

__all__ = ["NAME", "dropout", "given", "layer", "step", "update"]

NAME = "Keras"
jnp = jax.numpy
NAMES = {"Momentum": "SGD", "AdaGrad": "Adagrad", "NAdam": "Nadam"}
SMALL = {"epsilon": 1e-8}
#: What makes Keras's defaults ours.
OPTIONS: dict[str, Any] = {
    "Momentum": {"momentum": 0.9}, "AdamW": {"weight_decay": 0.01} | SMALL, "Adam": SMALL,
    "AdaGrad": {"initial_accumulator_value": 0.0} | SMALL, "RMSprop": SMALL, "NAdam": SMALL,
    "Adamax": SMALL, "Adadelta": {"rho": 0.9, "epsilon": 1e-6},
}  # fmt: skip


def given(form: str) -> dict[str, Any]:
    """Say what takes part."""
    return backend.given(form) | {"library": f"Keras {keras.__version__} on JAX {jax.__version__}"}


def update(work: Any, arrays: Any, form: str) -> Any:
    """Step an optimizer without state of its own, under one jit."""
    name = NAMES.get(work.name, work.name)
    cls = getattr(keras.optimizers, name, None)
    if cls is None or work.form:
        raise MissingError(f"Keras has no {work.name} {work.form}".rstrip())
    rule = cls(learning_rate=updates.RATE, **OPTIONS.get(work.name, {}))
    params, grads = arrays
    variables = [keras.Variable(p, dtype=work.dtype) for p in params.values()]
    rule.build(variables)
    slopes = [jnp.array(g) for g in grads.values()]
    step = jax.jit(
        lambda own, now, slopes: rule.stateless_apply(own, slopes, now), donate_argnums=(0, 1)
    )
    values = [jnp.array(v.value) for v in rule.variables], [jnp.array(v.value) for v in variables]
    state = list(values)

    def call():
        now, own = step(*state, slopes)
        state[:] = own, now
        return jax.block_until_ready(now)

    return call, lambda now: [np.asarray(p) for p in now]


def computing_in(dtype: str) -> None:
    """Let what is made from now on compute in this type; the policy does not follow floatx."""
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)


MADE: dict[str, Any] = {
    "BatchNorm": lambda n: keras.layers.BatchNormalization(axis=1, momentum=0.9, epsilon=1e-5),
    "LayerNorm": lambda n: keras.layers.LayerNormalization(axis=1, epsilon=1e-5),
    "RMSNorm": lambda n: keras.layers.RMSNormalization(axis=1, epsilon=1e-5),
    "GroupNorm": lambda n: keras.layers.GroupNormalization(layers.GROUPS, axis=1, epsilon=1e-5),
    "Dense": lambda n: keras.layers.Dense(n),
    "Dropout": lambda n: keras.layers.Dropout(noise.RATE, seed=0),
    "AlphaDropout": lambda n: keras.layers.AlphaDropout(noise.RATE, seed=0),
    "GaussianDropout": lambda n: keras.layers.GaussianDropout(noise.RATE, seed=0),
}


def made(work: Any, x: Any) -> Any:
    """Return the layer of this name, built for x, and its state."""
    if work.name not in MADE:
        raise MissingError(f"Keras has no {work.name} of this kind")
    if work.name in layers.NORMS and work.dtype == "float64":
        raise MissingError(f"Keras computes {work.name} of doubles in float32")
    layer = MADE[work.name](x.shape[1] if x.ndim > 1 else 0)
    layer.build(x.shape)
    return layer, [v.value for v in layer.trainable_variables], [
        v.value for v in layer.non_trainable_variables
    ]  # fmt: skip


def layer(work: Any, arrays: Any, form: str) -> Any:
    """Go through a layer in training, and back."""
    computing_in(work.dtype)
    x, dy, *weights = map(jnp.array, arrays)
    one, own, kept = made(work, x)
    if weights:
        own[0] = weights[0]
    options = {"training": True} if work.name == "BatchNorm" else {}

    @jax.jit
    def both(own, kept, x, dy):
        def forward(own, x):
            return one.stateless_call(own, kept, x, **options)

        y, back, moved = jax.vjp(forward, own, x, has_aux=True)
        return moved, (y, back(dy)[1]) if work.form == "forward+backward" else (y,)

    state = [kept]

    def call():
        state[0], found = both(own, state[0], x, dy)
        return jax.block_until_ready(found)

    return call, lambda found: [np.asarray(array) for array in found]


def dropout(work: Any, arrays: Any, form: str) -> Any:
    """Drop in training."""
    computing_in(work.dtype)
    x = jnp.array(arrays[0])
    one, own, kept = made(work, x)
    drop = jax.jit(lambda kept, x: one.stateless_call(own, kept, x, training=True))
    state = [kept]

    def call():
        y, state[0] = drop(state[0], x)
        return y.block_until_ready()

    return call, lambda y: [np.asarray(y)]


def step(work: Any, arrays: Any, form: str) -> Any:
    """Take the steps of an epoch without state, in one scan under jit; ``fit`` takes longer."""
    _, sizes, batch_norm, drop, rate = steps.plan(work)
    computing_in(work.dtype)
    X, y, weights = arrays
    count = steps.EPOCH if work.name == "step" else 1
    dense = [keras.layers.Dense(n, use_bias=not batch_norm) for n in sizes[1:-1]]
    chain = [keras.Input((sizes[0],), batch_size=len(X))]
    for one in dense:
        chain.append(one)
        if batch_norm:
            chain.append(keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5))
        chain.append(keras.layers.ReLU())
        chain += [keras.layers.Dropout(drop)] if drop else []
    dense.append(keras.layers.Dense(sizes[-1]))
    model = keras.Sequential([*chain, dense[-1]])
    for one, W in zip(dense, weights, strict=True):
        one.set_weights([W, *one.get_weights()[1:]])
    rule = keras.optimizers.AdamW(rate, weight_decay=0.01, epsilon=1e-8)
    rule.build(model.trainable_variables)
    criterion = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def forward(own, kept, x, labels):
        outputs, kept = model.stateless_call(own, kept, x, training=True)
        return criterion(labels, outputs), kept

    def move(state, batch):
        own, kept, memory = state
        (value, kept), slopes = jax.value_and_grad(forward, has_aux=True)(own, kept, *batch)
        own, memory = rule.stateless_apply(memory, slopes, own)
        return (own, kept, memory), value

    epoch = jax.jit(lambda state, batches: jax.lax.scan(move, state, batches), donate_argnums=0)
    parts = model.trainable_variables, model.non_trainable_variables, rule.variables
    state = [tuple([jnp.array(variable.value) for variable in part] for part in parts)]
    batches = jnp.tile(jnp.array(X), (count, 1, 1)), jnp.tile(jnp.array(y), (count, 1))
    paths = [variable.path for variable in model.trainable_variables]
    kernels = [paths.index(one.kernel.path) for one in dense]

    def call():
        state[0], values = epoch(state[0], batches)
        values.block_until_ready()

    return Repeated(call, count), lambda _: [np.asarray(state[0][0][i]) for i in kernels]
