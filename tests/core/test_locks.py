"""Forks, signal handlers, finalisers and other threads in the middle of a call."""

import copy
import gc
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time

import harness
import numpy as np
import pytest

import fastreg
from fastreg import SGD, Adam, BatchNorm, Dropout
from fastreg._core import _kernels
from fastreg.nn import Dense, ReLU, Sequential, mlp
from fastreg.train import Trainer

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
quietly = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def in_child(work, seconds=20):
    """Whether a forked child gets through ``work``."""
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


class Node:
    """Part of a cycle that only a collection frees."""


@forks
@quietly
def test_a_collection_between_the_hooks_of_a_fork_frees_pooled_arrays():
    """In a process of its own: where this fails, the parent hangs too."""
    code = """
        import gc, os
        import numpy as np
        from fastreg import Dropout

        class Node: pass

        drop, X = Dropout(0.5, rng=0), np.ones(1 << 18, np.float32)
        gc.set_threshold(1)
        for _ in range(5):
            gc.disable()
            node = Node()
            node.me, node.y = node, drop.forward(X)
            del node
            gc.enable()
            child = os.fork()
            if child == 0:
                drop.forward(X)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        print("through")
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == "through\n", done.stderr


@forks
@quietly
@pytest.mark.parametrize("where", ["schedule", "exclude"])
def test_a_child_forked_inside_a_step_goes_on(where):
    children = []

    def function(argument):
        children.append(os.fork())
        if children[-1] == 0:
            signal.alarm(20)
        return 0.1 if where == "schedule" else False

    optimizer = SGD(function) if where == "schedule" else SGD(0.1, exclude=function)
    params = {"w": np.zeros(4)}
    optimizer.update(params, {"w": np.ones(4)})
    if children[-1] == 0:
        optimizer.update({"v": np.zeros(4)}, {"v": np.ones(4)}) if where == "exclude" else None
        os._exit(0 if optimizer.t >= 1 and params["w"][0] == -0.1 else 1)
    assert os.waitpid(children[0], 0)[1] == 0


@forks
@quietly
def test_a_child_is_not_locked_out_of_what_another_thread_was_using():
    lock, inside, leave = _kernels.Lock("it"), threading.Event(), threading.Event()

    def visit():
        with lock:
            inside.set()
            leave.wait()

    visitor = threading.Thread(target=visit)
    visitor.start()
    inside.wait()

    def work():
        with lock:
            pass
        with lock.reading():
            pass

    assert in_child(work)
    leave.set()
    visitor.join()


@forks
@quietly
def test_a_child_forked_inside_its_own_lock_leaves_it_and_enters_again():
    lock = _kernels.Lock("it")

    def work():
        with pytest.raises(RuntimeError, match="inside its own call"), lock:
            pass
        lock.__exit__(None, None, None)
        with lock:
            pass

    with lock:
        assert in_child(work)
    with lock:
        pass


def test_a_schedule_may_wait_for_another_thread_that_uses_the_optimizer():
    seen = []

    def rate(step):
        if threading.current_thread() is threading.main_thread():
            reader = threading.Thread(target=lambda: seen.append(optimizer.state_dict()["t"]))
            reader.start()
            reader.join(20)
        return 0.1

    optimizer = SGD(rate)
    optimizer.update({"w": np.zeros(1)}, {"w": np.ones(1)})
    assert seen == [0]


def test_a_step_that_another_thread_took_first_is_followed_by_one_at_its_own_rate():
    optimizer, params = SGD(lambda step: 0.0), {"w": np.zeros(1)}
    late = []

    def rate(step):
        if not late:  # the first asked is overtaken
            late.append(step)
            other = threading.Thread(target=optimizer.update, args=(params, {"w": np.ones(1)}))
            other.start()
            other.join()
        return 1.0 + step

    optimizer.lr = rate
    optimizer.update(params, {"w": np.ones(1)})
    assert optimizer.t == 2
    assert params["w"] == -(1.0 + 2.0)


# --- inside a call of one's own thread -----------------------------------------------------


class Meddler(ReLU):
    """A layer that does something in the middle of its network's call."""

    def __init__(self):
        super().__init__()
        self.act = lambda: None

    def forward(self, X):
        self.act()
        return super().forward(X)

    def backward(self, dY):
        self.act()
        return super().backward(dY)

    def __reduce__(self):
        return ReLU, ()


def network():
    meddler = Meddler()
    layers = [
        *(Dense(4, 5, rng=0), BatchNorm(5), ReLU(), Dropout(0.5, rng=1)),
        *(BatchNorm(5), meddler, Dropout(0.5, rng=2), Dense(5, 3, rng=3)),
    ]
    return Sequential(layers), meddler


def everything(model):
    """All that a call of a network may change, by name."""
    return {
        f"{i}.{name}": copy.deepcopy(value)
        for i, layer in enumerate(model.layers)
        for name, value in vars(layer).items()
        if name not in ("_lock", "act")
    }


def same(one, other):
    assert repr(one) == repr(other)


@pytest.mark.parametrize("method", ["forward", "backward"])
@pytest.mark.parametrize("save", ["state_dict", "pickle", "copy"])
def test_the_state_read_in_the_middle_of_a_call_is_that_before_it(method, save):
    model, meddler = network()
    model.backward(model.forward(X)[:, :3])
    model.forward(X)
    before, seen = model.state_dict(), []

    def read():
        if save == "state_dict":
            seen.append(model.state_dict())
        else:
            made = pickle.loads(pickle.dumps(model)) if save == "pickle" else copy.deepcopy(model)
            seen.append(made.state_dict())

    meddler.act = read
    argument = X if method == "forward" else np.ones((6, 3), np.float32)
    getattr(model, method)(argument)
    meddler.act = lambda: None
    harness.same_states(seen[0], before)
    if method == "forward":
        with pytest.raises(AssertionError):
            harness.same_states(model.state_dict(), before)  # the call itself went on


@pytest.mark.parametrize("method", ["forward", "backward"])
def test_a_network_called_from_inside_its_own_call_says_so(method):
    model, meddler = network()
    model.backward(model.forward(X))
    before = everything(model)
    meddler.act = lambda: model.forward(X)
    argument = X if method == "forward" else np.ones((6, 3), np.float32)
    with pytest.raises(RuntimeError, match="Sequential.forward: called from inside its own call"):
        getattr(model, method)(argument)
    same(everything(model), before)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timer")
@pytest.mark.parametrize("kind", ["layer", "network", "optimizer"])
def test_a_handler_never_waits_for_the_thread_it_interrupts(kind):
    code = f"""
        import pickle, signal
        import numpy as np
        import fastreg
        from fastreg.nn import mlp

        kind = {kind!r}
        X = np.ones((64, 32), np.float32)
        refused = reads = 0
        if kind == "optimizer":
            target, params = fastreg.Adam(lambda t: 0.1), {{"w": np.ones(50)}}
            call = lambda: target.update(params, {{"w": np.ones(50)}})
        else:
            target = fastreg.Dropout(0.5, rng=0) if kind == "layer" else mlp(
                [32, 32, 8], batch_norm=True, dropout=0.5, rng=0)
            call = lambda: target.forward(X)

        def handle(*_):
            global refused, reads
            target.state_dict(), pickle.dumps(target) if kind != "optimizer" else None
            reads += 1
            try:
                call()
            except RuntimeError as error:
                assert "inside its own" in str(error), error
                refused += 1

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0007)
        while reads < 50:
            call()
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(reads >= 50)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "True\n", done.stderr


def test_a_wait_for_another_thread_ends_with_ctrl_c():
    lock, inside, leave = _kernels.Lock("it"), threading.Event(), threading.Event()

    def visit():
        with lock:
            inside.set()
            leave.wait(30)

    visitor = threading.Thread(target=visit)
    visitor.start()
    inside.wait()
    timer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt), lock:
        pass
    assert time.monotonic() - begin < 20
    leave.set()
    visitor.join()
    with lock:
        pass


# --- calls that fail -----------------------------------------------------------------------


class Broken(Meddler):
    """A layer whose calls fail."""

    def fail(self):
        self.act = self.raises

    def raises(self):
        self.left_behind = True
        raise MemoryError("no room")


@pytest.mark.parametrize("method", ["forward", "backward"])
def test_a_network_whose_call_fails_is_as_it_was(method):
    model, _ = network()
    broken = Broken()
    model = Sequential([*model.layers[:5], broken, *model.layers[6:]])
    model.backward(model.forward(X))
    model.forward(X)
    before, grads = everything(model), {k: (v, v.copy()) for k, v in model.grads.items()}
    broken.fail()
    argument = X if method == "forward" else np.ones((6, 3), np.float32)
    with pytest.raises(MemoryError):
        getattr(model, method)(argument)
    same(everything(model), before)
    for key, grad in model.grads.items():
        assert grad is grads[key][0]
        np.testing.assert_array_equal(grad, grads[key][1])


@pytest.mark.parametrize(
    "file", ["nn/sequential.py", "nn/block.py", "norm/batch.py", "dropout/base.py"]
)
@pytest.mark.parametrize("method", ["forward", "backward", "load_state_dict", "train"])
def test_an_interrupt_at_any_line_leaves_a_network_as_it_was(method, file):
    model, _ = network()
    other = model.state_dict() | {"0.W": np.ones((4, 5), np.float32), "3.call": 7}
    arguments = {"forward": [X], "backward": [np.ones((6, 3), np.float32)]}
    arguments["load_state_dict"] = [other]
    model.backward(model.forward(X))
    line, torn = 1, True
    while torn:
        victim = copy.deepcopy(model)
        if method == "train":
            victim.eval()
        victim.forward(X)
        before, mode = everything(victim), victim.training
        call, given = getattr(victim, method), arguments.get(method, [])
        torn = harness.interrupted(line, file, call, *given)
        if torn:
            same(everything(victim), before)
            assert victim.training == mode
        line += 1
    assert repr(everything(victim)) != repr(before)  # the last one was let through


# --- pickles -------------------------------------------------------------------------------


def test_pickles_hold_weights_and_state_and_not_the_batch():
    model = mlp([300, 100, 10], batch_norm=True, dropout=0.5, rng=0)
    batch = np.full((2000, 300), 123.456, np.float32)
    model.backward(model.forward(batch))
    size = sum(array.nbytes for array in model.arrays.values())
    for data in (pickle.dumps(model), pickle.dumps(copy.deepcopy(model))):
        assert len(data) < 1.1 * size + 4096
        assert batch[0].tobytes() not in data
    restored = pickle.loads(pickle.dumps(model))
    harness.same_states(restored.state_dict(), model.state_dict())
    np.testing.assert_array_equal(restored.forward(batch), model.forward(batch))
    with pytest.raises(RuntimeError, match="backward must be called first"):
        _ = pickle.loads(pickle.dumps(model)).grads


def test_a_fitted_trainer_keeps_no_second_copy_of_the_weights():
    model, optimizer = mlp([300, 200, 2], rng=0), Adam()
    trainer = Trainer(model, fastreg.nn.softmax_cross_entropy, optimizer, rng=0)
    trainer.fit(np.ones((64, 300), np.float32), np.arange(64) % 2, epochs=1)
    weights = sum(array.nbytes for array in model.params.values())
    assert len(pickle.dumps(trainer)) < 3.1 * weights + 8192  # with Adam's two
    gc.collect()
