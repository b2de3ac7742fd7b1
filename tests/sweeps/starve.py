"""Make every public call again and again, each time without memory for another allocation.

A program of its own, for memory that fails anywhere may end a process: ``starve.py ORDER STRIDE
BURST RARER [SHIM]`` makes calls ORDER, ORDER + STRIDE, … of the table. Of each call the k-th
allocation fails, or BURST of them from the k-th on, for every k; or, if RARER is not 0, for each up
to RARER, every second up to twice that, and so on. The call must succeed or raise MemoryError; if
it raises, everything is as it was before, and a second attempt gives what an untouched twin gives.
A fault is a line of what it prints. With SHIM (starved.c, preloaded) allocations of C fail as well.
"""

import contextlib
import copy
import ctypes
import faulthandler
import inspect
import io
import json
import linecache
import os
import re
import sys
import tempfile
import threading
import traceback
import types
import warnings
from pathlib import Path

import numpy as np
from calls import Call
from frozen import frozen, write_files
from public_calls import CALLS, Assign, Bound, trainer

import fastreg
from fastreg import callbacks, nn

#: Raised by CPython and NumPy themselves, in the place of a MemoryError.
FOREIGN = {
    RuntimeError: ("can't allocate",),  # a lock of CPython's
    ValueError: ("initialization error",),  # OpenSSL's of a digest
    SystemError: (
        "error return without exception set",  # NumPy's reductions
        "returned NULL without setting an exception",  # its ufuncs and iterators
        "returned a result with an exception set",
    ),
}
#: Of these the state is not compared, or not all of it, and why.
RESULTS_ONLY = {
    "Trainer.evaluate": "leaves the model in evaluation mode and layers with the last batch",
    "Trainer.predict": "as evaluate",
    "Trainer.predict_proba": "as evaluate",
    "Trainer.evaluate(source)": "as evaluate",
    "evaluate": "as evaluate",
    "SWA.apply": "layers are left with the last batch",
    "update_statistics": "as SWA.apply",
    "compare_optimizers": "takes steps of the optimizers that it was given",
    "penalty_and_gradient": "a value is made of sums when out= has been written",
    "ElasticNet.value_and_gradient": "as penalty_and_gradient",
}
#: Not called here, and why.
LEFT_OUT = {
    "Trainer.fit": "has a test of its own: a failure leaves a whole number of steps",
    "Trainer.fit(source)": "as Trainer.fit",
    "fit": "as Trainer.fit",
    "set_num_threads": "the table sets the number and sets it back",
    "export.npz": "zipfile raises its own errors where it has no memory; nothing is written",
    "export.onnx": "onnx is a package of its own, and does not promise it",
    "export.torch": "nor does torch",
    "export.torch_state": "as export.torch",
    "export.from_torch": "as export.torch",
    "lab.experiment": "imports modules, which fail with CPython's own errors",
    "lab.data.load": "NumPy 2.4 crashes in a ufunc that casts (np.ldexp) without memory",
    "ReLU from the pool: backward": "NumPy 2.4 crashes in a ufunc that casts (np.greater)",
}
#: Where several allocations in a row fail NumPy crashes (np.errstate) and CPython (contextvars).
FRAGILE = ("num_threads", "products", "Trainer", "mlp", "Dense", "data.", "bias_variance")
FRAGILE += ("max_norm", "unit_norm", "GroupLasso", "softmax_", "mse", "binary_cross", "checkpoint")
FRAGILE += ("Tanh", "Sigmoid", "GELU", "LeakyReLU", "diagnose", "weight_histogram", "export.")
FRAGILE += ("mae", "huber", "quantile", "poisson", "focal")
#: OpenBLAS ends the process where its own buffer cannot be had.
PRODUCTS = ("Dense from the pool", "Sequential from the pool")
QUIET = 5  # calls in a row without a failure: all allocations have been seen


def large(rows=128, cols=300):
    return np.random.default_rng(0).standard_normal((rows, cols)).astype(np.float32)


def used(layer, X):
    layer.backward(layer.forward(X))
    return layer


def without_arguments():
    """What takes none: the methods and properties of every object whose methods the table has."""
    named = {call.where for call in CALLS}
    for name in sorted({*nn.activations.__all__} - named):
        yield Call(name, lambda name=name: getattr(nn, name))
    for name in ("empty_cache", "get_num_threads"):
        yield Call(name, lambda name=name: getattr(fastreg, name))
    makers = {}
    for call in CALLS:
        made = call.make()
        holder = getattr(made, "holder", None) or getattr(made, "__self__", None)
        bound = isinstance(made, (Assign, Bound, types.MethodType))
        if not bound or isinstance(holder, type):
            continue
        if type(holder) not in makers or call.where.endswith(".backward"):
            makers[type(holder)] = call.make
    for kind, make in makers.items():
        for name in dir(kind):
            found = inspect.getattr_static(kind, name)
            where = f"{kind.__name__}.{name}"
            if name.startswith("_") or where in named:
                continue
            if isinstance(found, property):
                yield Call(where, lambda make=make, name=name: Read(make(), name))
            elif (
                isinstance(found, types.FunctionType)
                and len(inspect.signature(found).parameters) == 1
            ):
                yield Call(where, lambda make=make, name=name: Read(make(), name, call=True))


class Read(Bound):
    """A property, or a method without arguments, of the object that another call is bound to."""

    def __init__(self, made, name, call=False):
        self.holder = getattr(made, "holder", None) or made.__self__
        self.name, self.call = name, call

    def __call__(self):
        found = getattr(self.holder, self.name)
        return found() if self.call else found


def of_the_pool():
    """Calls whose arrays are large enough to come from the pool."""
    X = large()
    layers = [fastreg.Dropout(0.5, rng=0), fastreg.AlphaDropout(0.5, rng=0), fastreg.BatchNorm(300)]
    layers += [
        fastreg.LayerNorm(300),
        fastreg.GroupNorm(3, 300),
        nn.ReLU(),
        nn.Dense(300, 300, rng=0),
    ]
    for options in ({}, {"batch_norm": True, "dropout": 0.5}):
        layers.append(nn.mlp([300, 300, 300], rng=0, **options))
    for layer in layers:
        name = f"{type(layer).__name__} from the pool"
        for method in ("forward", "backward"):
            yield Call(
                f"{name}: {method}",
                lambda layer=layer, method=method: getattr(used(copy.deepcopy(layer), X), method),
                **{next(iter(inspect.signature(getattr(layer, method)).parameters)): (X, None)},
            )

    def stepped():
        optimizer = fastreg.Adam(clip_norm=1.0, ema_decay=0.9)
        optimizer.update({"a": large(), "b": 1.0}, {"a": large(), "b": 1.0})
        return optimizer.update

    yield Call(
        "Adam from the pool: update", stepped,
        params=({"a": large(), "b": 1.0, "c": np.ones(3)}, None),
        grads=({"a": large(), "b": 1.0, "c": np.ones(3)}, None),
    )  # fmt: skip
    yield Call(
        "l1_gradient from the pool", lambda: fastreg.l1_gradient, W=(X, None), lambda_l1=(0.1, None)
    )


class Memory:
    """What fails allocations: CPython's hooks, or the preloaded allocator."""

    def __init__(self, shim):
        if shim:
            library = ctypes.PyDLL(shim)
            self.starve, self.feed = library.starve, library.feed
            self.starve.argtypes = [ctypes.c_long] * 2
            self.starve.restype = self.feed.restype = None
        else:
            import _testcapi

            self.starve, self.feed = _testcapi.set_nomemory, _testcapi.remove_mem_hooks

    def attempt(self, function, arguments, k, stop):
        """Call a function; return what it returned and what it raised."""
        result = error = None
        starve, feed = self.starve, self.feed
        try:
            starve(k, stop)
            result = function(**arguments)
        except BaseException as raised:
            error = raised
        while True:
            try:
                feed()
                return result, error
            except MemoryError:  # the failure came after the call
                pass


def arguments_of(call):
    return {name: copy.deepcopy(value) for name, (value, _) in call.arguments.items()}


def world():
    _, words, place, *_ = np.random.get_state()
    return words.tobytes(), place, fastreg.get_num_threads(), threading.active_count()


def is_foreign(error):
    """Whether an error is one that CPython or NumPy raises for want of memory.

    One without a name is theirs if no function of the extension stands in the line."""
    if not any(word in str(error) for word in FOREIGN.get(type(error), ())):
        return False
    last = traceback.extract_tb(error.__traceback__)[-1]
    if last.filename.endswith((".pyx", ".pxi")) and "fastreg" in last.filename:
        return False
    ours = "fastreg" in Path(last.filename).parts
    line = linecache.getline(last.filename, last.lineno)
    return not (ours and re.search(rf"(?<![.\w])({'|'.join(dir(fastreg._core._kernels))})\(", line))


def place_of(error):
    frames = reversed(traceback.extract_tb(error.__traceback__)[-4:])
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)


def step(k, rarer):
    return 1 + (k // rarer if rarer else 0)


def faults(call, memory, burst, rarer):
    """What is wrong with a call without memory, by kind: the first k of each."""
    function, arguments = call.make(), arguments_of(call)
    try:
        expected = frozen(function(**arguments), twins=True)  # imports what it needs, too
    except (RuntimeError, AttributeError):
        return {}  # a property that this object has not
    compared = call.where not in RESULTS_ONLY
    found, quiet, k = {}, 0, 0
    while quiet < QUIET:
        function, arguments = call.make(), arguments_of(call)
        before, around = frozen((function, arguments)), world()
        _, error = memory.attempt(function, arguments, k, k + burst)
        quiet = 0 if error else quiet + 1
        if error is not None:
            wrong = None
            if not isinstance(error, MemoryError) and not is_foreign(error):
                wrong = f"raises {error!r}"
            elif compared and frozen((function, arguments)) != before:
                wrong = "changes something"
            elif world() != around:
                wrong = "changes the random stream, the threads or their number"
            elif compared and frozen(function(**arguments_of(call)), twins=True) != expected:
                wrong = "gives another result afterwards"
            if wrong:
                found.setdefault(f"{wrong} @ {place_of(error)}", k)
        k += step(k, rarer)
    return found


def faults_apart(call, *how):
    """The same of a child: NumPy and CPython may crash where several allocations in a row fail."""
    with tempfile.TemporaryFile("w+") as said:
        child = os.fork()
        if not child:
            faulthandler.enable(said)
            said.write(json.dumps(faults(call, *how)))
            said.flush()
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        said.seek(0)
        text = said.read()
    if not status:
        return json.loads(text)
    where = re.search(r'File "(.*)", line', text)  # the innermost
    ours = not where or Path(where[1]).is_relative_to(Path(fastreg.__file__).parent)
    return {f"ends the process ({status}): {text}": 0} if ours else {}


def faults_of_training(memory, burst, rarer):
    """What is wrong after a training that ran out of memory: it ends after a whole step."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((10, 3)).astype(np.float32), np.arange(10) % 2
    data = {"X": X, "y": y, "epochs": 2, "batch_size": 4, "X_val": X, "y_val": y}

    def state(run):
        return frozen((run.model.state_dict(), run.optimizer.state_dict()), twins=True)

    class Recorder(callbacks.Callback):
        def on_train_batch_end(self, batch, loss=None):
            states[self.trainer.step] = state(self.trainer)

    states = {0: state(trainer())}
    trainer(callbacks=[Recorder()]).fit(**data)
    found, quiet, k = {}, 0, 0
    while quiet < QUIET:
        run, before = trainer(), world()
        _, error = memory.attempt(run.fit, data, k, k + burst)
        quiet = 0 if error else quiet + 1
        if error is not None:
            wrong = None
            if not isinstance(error, MemoryError) and not is_foreign(error):
                wrong = f"raises {error!r}"
            elif state(run) != states[run.step]:
                wrong = "tears a step"
            elif world() != before:
                wrong = "changes the random stream, the threads or their number"
            else:
                wrong = fault_of_saving(run, state)
                run.fit(**data)
            if wrong:
                found.setdefault(f"{wrong} @ {place_of(error)}", k)
        k += step(k, rarer)
    return found


def fault_of_saving(run, state):
    """What is wrong with the file that a run writes; the end of an epoch may be refused."""
    other = trainer()
    try:
        run.save("starved.ckpt")
    except RuntimeError as refused:
        return None if "an epoch's end was interrupted" in str(refused) else f"refuses: {refused}"
    other.load("starved.ckpt")
    return None if state(other) == state(run) else "saves something else"


def all_calls():
    return [*CALLS, *without_arguments(), *of_the_pool()]


def main(order, stride, burst, rarer, shim=None):
    memory = Memory(shim)
    warnings.simplefilter("ignore")
    calls = all_calls()
    unknown = [name for name in (*RESULTS_ONLY, *LEFT_OUT) if name not in {c.where for c in calls}]
    if unknown:
        print("not in the table:", unknown)
    wrong = bool(unknown)
    for call in calls[order::stride]:
        if call.where in LEFT_OUT:
            continue
        if burst > 1 and (call.where.startswith(FRAGILE) or call.where in fastreg.dropout.__all__):
            continue
        if shim and call.where.startswith(PRODUCTS):
            continue
        print(f"{call.where} …", file=sys.stderr, flush=True)
        with contextlib.redirect_stdout(io.StringIO()):
            found = (faults_apart if burst > 1 else faults)(call, memory, burst, rarer)
        for what, k in found.items():
            wrong = True
            print(f"{call.where}, allocation {k}: {what}", flush=True)
    if order == 0 and burst == 1:
        for what, k in faults_of_training(memory, burst, rarer).items():
            wrong = True
            print(f"Trainer.fit, allocation {k}: {what}", flush=True)
    return wrong


if __name__ == "__main__":
    *numbers, shim = [*sys.argv[1:], None][:5]
    with tempfile.TemporaryDirectory() as folder:
        write_files(folder)
        os.chdir(folder)
        done = main(*map(int, numbers), shim)
        os.chdir("/")
    sys.exit(done)
