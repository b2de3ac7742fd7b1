"""What a step allows: callbacks of its own, other threads, forks, interrupts."""

import contextlib
import copy
import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
import threading

import harness
import numpy as np
import pytest
from harness import step

from fastreg import SGD, Adam, optim


def test_a_schedule_may_drop_the_gradients():
    grads = {"w": np.ones(4_000_000)}

    def rate(step):
        grads.clear()
        return 0.1

    with pytest.raises(ValueError, match=r"missing \['w'\]"):
        SGD(rate).update({"w": np.zeros(4_000_000)}, grads)


def test_gradients_live_as_long_as_the_step():
    optimizer, params = SGD(1.0), {"w": np.zeros(3_000_000)}
    for _ in range(10):
        grads = {"w": np.ones(3_000_000)}
        worker = threading.Thread(target=optimizer.update, args=(params, grads))
        worker.start()
        with contextlib.suppress(KeyError):
            grads["w"] = None
        worker.join()
    assert set(np.unique(params["w"])) <= {-float(optimizer.t)}


def test_a_step_inside_a_step_is_refused():
    def rate(step):
        optimizer.update({"w": np.zeros(1)}, {"w": np.ones(1)})
        return 0.1

    optimizer = SGD(rate)
    with pytest.raises(RuntimeError, match="called from inside its own update"):
        optimizer.update({"w": np.zeros(1)}, {"w": np.ones(1)})
    assert optimizer.t == 0


def test_a_schedule_may_assign_the_rate():
    def rate(step):
        optimizer.lr = 0.5
        return 0.25

    optimizer = SGD(rate)
    np.testing.assert_array_equal(step(optimizer, [0.0], [1.0]), [-0.25])


class Refusing(dict):
    """Refuses to replace its entry ``locked`` once it is asked to."""

    locked = None

    def __setitem__(self, name, value):
        if name == self.locked:
            self.locked = None  # the entries before it can be put back
            raise KeyError(name)
        super().__setitem__(name, value)


@pytest.mark.parametrize("rule", optim.__all__)
@pytest.mark.parametrize("joined", [False, True], ids=["first step", "later step"])
def test_an_entry_that_cannot_be_replaced_leaves_everything_as_it_was(rule, joined):
    optimizer = getattr(optim, rule)(0.1, ema_decay=0.5)
    params = Refusing({"a": 1.0, "w": np.ones(5), "b": 2.0, "c": np.float32(3.0)})
    grads = {"a": 1.0, "w": np.ones(5), "b": -1.0, "c": np.float32(2.0)}
    if joined:
        optimizer.update(params, grads)
    for call in (lambda: optimizer.update(params, grads), optimizer.swap_ema)[: 1 + joined]:
        for name in "abc":
            before, state = copy.deepcopy(dict(params)), optimizer.state_dict()
            params.locked = name
            with pytest.raises(KeyError, match=name):
                call()
            assert list(params) == list(before)
            assert all(np.array_equal(params[key], before[key]) for key in params)
            harness.same_states(optimizer.state_dict(), state)
    plain = copy.deepcopy(dict(params))
    again = copy.deepcopy(optimizer)
    optimizer.update(params, grads)
    again.update(plain, grads)
    harness.same_states(optimizer.state_dict(), again.state_dict())


def test_a_schedule_that_raises_leaves_everything_as_it_was():
    def rate(step):
        if step == 1:
            raise ZeroDivisionError
        return 0.1

    optimizer = Adam(0.5, weight_decay=lambda step: 1.0, groups={"b": {"learning_rate": rate}})
    params = {"a": np.ones(2), "b": np.ones(2), "s": 1.0}
    grads = {name: np.ones(2) if name in "ab" else 1.0 for name in params}
    optimizer.update(params, grads)
    before, state = copy.deepcopy(params), optimizer.state_dict()
    with pytest.raises(ZeroDivisionError):
        optimizer.update(params, grads)
    assert all(np.array_equal(params[key], before[key]) for key in params)
    harness.same_states(optimizer.state_dict(), state)


@pytest.mark.parametrize("assign", [
    lambda optimizer: setattr(optimizer, "t", 5), lambda optimizer: setattr(optimizer, "m", {}),
])  # fmt: skip
def test_a_schedule_may_not_reset_its_own_step(assign):
    optimizer = Adam(lambda step: assign(optimizer) or 0.1)
    with pytest.raises(RuntimeError, match="called from inside its own update"):
        step(optimizer, [0.0], [1.0])
    assert optimizer.t == 0


@pytest.mark.skipif(importlib.util.find_spec("_testcapi") is None, reason="needs _testcapi")
@pytest.mark.skipif(
    sys.version_info[:2] in ((3, 12), (3, 13)),
    reason="CPython itself drops a code object twice where there is no memory for a generator",
)
def test_every_failed_allocation_of_a_step_is_a_memory_error_and_changes_nothing():
    code = """
        import _testcapi
        import numpy as np
        import fastreg

        OPTIONS = dict(clip_norm=1.0, ema_decay=0.9, exclude=["b"], groups={"w": {"beta1": 0.5}})

        def tried(prepare, call, k):
            made = prepare()
            try:
                _testcapi.set_nomemory(k, k + 1)
                call(*made)
            except MemoryError:
                failed = True
            else:
                failed = False
            finally:
                _testcapi.remove_mem_hooks()
            return failed, made

        def values():
            return {"w": np.ones(1000), "b": np.ones(7), "s": 1.0}

        def first():
            return fastreg.Adam(**OPTIONS), values(), values()

        def joining():
            optimizer, params, grads = first()
            optimizer.update({"w": params["w"]}, {"w": grads["w"]})
            return optimizer, params, grads

        def update(optimizer, params, grads):
            optimizer.update(params, grads)

        def load(optimizer, params, grads):
            optimizer.load_state_dict(SAVED)

        optimizer, params, grads = first()
        optimizer.update(params, grads)
        SAVED = optimizer.state_dict()
        for prepare, call in ((first, update), (joining, update), (joining, load)):
            failures = 0
            for k in range(400):
                expected = prepare()
                failed, (optimizer, params, grads) = tried(prepare, call, k)
                if failed:
                    failures += 1
                    assert optimizer.t == expected[0].t
                    assert params["s"] == expected[1]["s"]
                    assert all((params[n] == expected[1][n]).all() for n in "wb")
                    mine, theirs = optimizer.state_dict(), expected[0].state_dict()
                    assert list(mine) == list(theirs), (k, list(mine), list(theirs))
                    assert all(np.array_equal(mine[n], theirs[n]) for n in mine)
                    call(optimizer, params, grads)
            assert failures > 5, failures
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONMALLOC": "malloc", "MALLOC_PERTURB_": "165"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_during_another_thread_s_step_is_not_locked_out():
    optimizer, stop = SGD(1e-9), threading.Event()
    params, grads = {"w": np.zeros(2_000_000)}, {"w": np.ones(2_000_000)}

    def train():
        while not stop.is_set():
            optimizer.update(params, grads)

    worker = threading.Thread(target=train)
    worker.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                optimizer.update({"x": np.zeros(3)}, {"x": np.ones(3)})
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        worker.join()


@pytest.mark.skipif(sys.platform == "win32", reason="no interval timer on Windows")
def test_an_interrupt_leaves_a_whole_number_of_steps():
    code = """
        import signal
        import numpy as np
        import fastreg

        w, g = np.zeros(3_000_000), np.ones(3_000_000)
        optimizer = fastreg.SGD(1.0)
        interrupts = 0
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        for delay in np.linspace(0.0005, 0.02, 60):
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                while True:
                    optimizer.update({"w": w}, {"w": g})
            except KeyboardInterrupt:
                interrupts += 1
            assert (w == -optimizer.t).all(), "a step was torn"
        print(interrupts, optimizer.t > 0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300
    )
    assert done.stdout.split() == ["60", "True"], done.stderr
