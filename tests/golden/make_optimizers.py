"""Run the optimizers of torch, Keras and optax and keep what they do, as ``optimizers_*.json``.

Every case of ``cases()`` is one of fastreg's classes with fastreg's options. It is put into
each library's own words and played for 100 steps of fixed float64 gradients; a library that has
no such class or argument is left out. The README beside this file says how the result is laid
out and which versions made it.

    python tests/golden/make_optimizers.py                  # all three
    python tests/golden/make_optimizers.py optax --out /tmp
"""

import argparse
import inspect
import json
import os
from importlib.metadata import version
from pathlib import Path

import numpy as np

STEPS = 100
KEPT = 1, 2, 3, 10, 50, 100
LATE = 51  # the first step at the late learning rate

START = 1.0, -2.5, 0.0, 1e-3, 40.0, -0.3, 0.5, -1e-6
SCALE = 1.0, 8.0, 10.0, 1e-3, 100.0, 1e-5, 1e-8, 0.0


def gradients():
    """The gradient of every step, (STEPS, elements): one rounding each, so equal anywhere.

    A saw-tooth over (-0.63, 0.94), out of phase between the elements and of many scales. The
    second element's decays with 1/t, so that a maximum differs from a mean; the fourth's is
    zero but for every fifth step; the seventh's drowns in any epsilon; the last's is zero.
    """
    t, i = np.arange(1, STEPS + 1)[:, None], np.arange(len(START))
    wave = ((37 * t + 11 * i) % 101 - 40) / 64
    wave[:, 1] /= t[:, 0]
    wave[t[:, 0] % 5 != 0, 3] = 0.0
    return wave * SCALE


def cases():
    """(class, options, late learning rate): defaults first, then every option moved off them.

    ``weight_decay`` is what the library does under this name, ``lambda_l2`` is added to the
    gradient; in torch they are the same but for AdamW. The late learning
    rate shows whether a momentum buffer carries the rate of its day.
    """
    momentum = {"momentum": 0.9}
    nesterov = momentum | {"nesterov": True}
    yield from ((rule, {}, None) for rule in ("SGD", "AdaGrad", "RMSprop", "Adam", "AdamW"))
    yield from ((rule, {}, None) for rule in ("NAdam", "RAdam", "Adamax", "Adadelta", "Lion"))
    yield from (("Momentum", options, None) for options in (momentum, nesterov))
    yield from (("RMSprop", options, None) for options in ({"centered": True}, momentum))
    yield from ((rule, {"amsgrad": True}, None) for rule in ("Adam", "AdamW"))

    rate, root = {"learning_rate": 0.05}, {"epsilon": 1e-3}
    means = rate | root | {"beta1": 0.8, "beta2": 0.95}
    tuned = [
        ("SGD", rate),
        ("Momentum", rate | {"momentum": 0.8}),
        ("Momentum", rate | {"momentum": 0.8, "nesterov": True}),
        ("AdaGrad", rate | root | {"initial_accumulator": 0.25}),
        ("RMSprop", rate | root | {"beta": 0.8}),
        ("RMSprop", rate | root | {"beta": 0.8, "centered": True}),
        ("RMSprop", rate | root | {"beta": 0.8, "momentum": 0.7}),
        ("RMSprop", rate | root | {"beta": 0.8, "momentum": 0.7, "centered": True}),
        ("Adam", means),
        ("Adam", means | {"amsgrad": True}),
        ("NAdam", means),
        ("NAdam", means | {"momentum_decay": 0.02}),
        ("RAdam", means),
        ("Adamax", means),
        ("Adadelta", rate | root | {"rho": 0.8}),
        ("Lion", rate | {"beta1": 0.8, "beta2": 0.95}),
    ]
    for rule, options in tuned:
        for decay in {}, {"lambda_l2": 0.1}, {"weight_decay": 0.1}:
            yield rule, options | decay, 0.005
    for options in means, means | {"amsgrad": True}:
        yield "AdamW", options | {"weight_decay": 0.1}, 0.005

    for rule in ("Yogi", "Adan"):
        yield rule, {}, None
    yield "Momentum", rate | {"momentum": 0.8, "dampening": 0.25}, 0.005
    for rule, options in (("Yogi", means), ("Adan", means | {"beta3": 0.9})):
        for decay in {}, {"weight_decay": 0.1}:
            yield rule, options | decay, 0.005

    trusting = rate | {"momentum": 0.8, "trust_coefficient": 0.02, "epsilon": 0.1}
    for rule in ("LAMB", "LARS", "ScheduleFreeAdamW"):
        yield rule, {}, None
    for decay in {}, {"weight_decay": 0.1}:
        yield "LAMB", means | decay, 0.005
        yield "LARS", trusting | decay, 0.005
        yield "LARS", trusting | {"nesterov": True} | decay, 0.005
        yield "ScheduleFreeAdamW", means | decay, 0.005


def found(module, name):
    """What a module has under a name with dots, or None."""
    for part in name.split("."):
        module = getattr(module, part, None)
    return module


def rename(options, **names):
    """The options under the library's names; a name not listed is the same in both."""
    return {names.get(key, key): value for key, value in options.items()}


class Torch:
    """torch.optim. Its default dtype governs the scalar state, NAdam's product of momenta."""

    def __init__(self):
        import torch

        torch.set_default_dtype(torch.float64)
        self.module, self.tensor = torch.optim, torch.tensor

    def call(self, rule, options):
        """The class's name and its arguments."""
        arguments = rename(
            options,
            learning_rate="lr",
            beta="alpha",
            epsilon="eps",
            initial_accumulator="initial_accumulator_value",
            lambda_l2="weight_decay",
        )
        if "beta1" in options:
            arguments["betas"] = arguments.pop("beta1"), arguments.pop("beta2")
        return {"Momentum": "SGD", "AdaGrad": "Adagrad"}.get(rule, rule), arguments

    def play(self, name, arguments, late):
        """Yield the parameters after every step."""
        param = self.tensor(START, requires_grad=True)
        optimizer = getattr(self.module, name)([param], **arguments)
        for t, grad in enumerate(gradients(), start=1):
            if t == LATE and late is not None:
                optimizer.param_groups[0]["lr"] = late
            param.grad = self.tensor(grad)
            optimizer.step()
            yield param.tolist()


class Keras:
    """keras.optimizers on JAX, the backend that runs each optimizer's own ``update_step``."""

    def __init__(self):
        os.environ.update(KERAS_BACKEND="jax", JAX_ENABLE_X64="1", JAX_PLATFORMS="cpu")
        import keras

        keras.config.set_floatx("float64")
        self.module, self.keras = keras.optimizers, keras

    def call(self, rule, options):
        """The class's name and its arguments."""
        names = {"Momentum": "SGD", "AdaGrad": "Adagrad", "NAdam": "Nadam"}
        return names.get(rule, rule), rename(
            options,
            beta="rho",
            beta1="beta_1",
            beta2="beta_2",
            initial_accumulator="initial_accumulator_value",
        )

    def play(self, name, arguments, late):
        """Yield the parameters after every step."""
        param = self.keras.Variable(np.array(START))
        optimizer = getattr(self.module, name)(**arguments)
        for t, grad in enumerate(gradients(), start=1):
            if t == LATE and late is not None:
                optimizer.learning_rate = late
            optimizer.apply([self.keras.ops.convert_to_tensor(grad)], [param])
            yield np.asarray(param.value).tolist()


class Optax:
    """Optax's aliases. They have no default learning rate; 0.001 stands in for it."""

    def __init__(self):
        os.environ.update(JAX_ENABLE_X64="1", JAX_PLATFORMS="cpu")
        import jax.numpy
        import optax.contrib

        self.module, self.jnp = optax, jax.numpy

    def call(self, rule, options):
        """The function's name and its arguments."""
        names = {"beta": "decay", "beta1": "b1", "beta2": "b2", "beta3": "b3", "epsilon": "eps"}
        names["initial_accumulator"] = "initial_accumulator_value"
        if rule == "Adadelta":  # the one alias that decays through the gradient
            names["lambda_l2"] = "weight_decay"
        arguments = rename(options, **names)
        own = {"Momentum": "sgd", "ScheduleFreeAdamW": "contrib.schedule_free_adamw"}
        name = own.get(rule, rule.lower())
        if "weight_decay" in options and hasattr(self.module, name + "w"):
            name += "w"
        if name == "adam" and arguments.pop("amsgrad", False):
            name = "amsgrad"
        return name, arguments

    def play(self, name, arguments, late):
        """Yield the parameters after every step."""
        rate = arguments["learning_rate"]
        if late is not None:
            arguments = arguments | {
                "learning_rate": lambda count: self.jnp.where(count < LATE - 1, rate, late)
            }
        optimizer = found(self.module, name)(**arguments)
        param = self.jnp.array(START)
        state = optimizer.init(param)
        for grad in gradients():
            updates, state = optimizer.update(self.jnp.array(grad), state, param)
            param = self.module.apply_updates(param, updates)
            yield np.asarray(param).tolist()


LIBRARIES = {"torch": Torch, "keras": Keras, "optax": Optax}


def runs(library):
    """Every case the library has: what was asked, what was called, the parameters kept."""
    for rule, options, late in cases():
        if isinstance(library, Optax):
            options = {"learning_rate": 0.001} | options
        name, arguments = library.call(rule, options)
        maker = found(library.module, name)
        if maker is None or not arguments.keys() <= inspect.signature(maker).parameters.keys():
            continue
        words = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        history = dict(enumerate(library.play(name, arguments, late), start=1))
        yield {
            "optimizer": rule,
            "options": options,
            "late_learning_rate": late,
            "call": f"{library.module.__name__}.{name}({words})",
            "params": {str(t): history[t] for t in KEPT},
        }


def render(name):
    """The JSON text of one library, one line per run or gradient; floats are exact."""
    head = {"library": name, "version": version(name), "start": START, "late_from_step": LATE}
    lists = {"gradients": gradients().tolist(), "runs": runs(LIBRARIES[name]())}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    for key, rows in lists.items():
        body = ",\n".join(f"    {json.dumps(row)}" for row in rows)
        lines.append(f"  {json.dumps(key)}: [\n{body}\n  ]")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main():
    """Parse the command line and write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", nargs="?", choices=LIBRARIES, help="all if none is named")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder")
    options = parser.parse_args()
    for name in [options.library] if options.library else LIBRARIES:
        path = options.out / f"optimizers_{name}.json"
        path.write_text(render(name), encoding="utf-8")
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
