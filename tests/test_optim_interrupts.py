"""What a step allows: callbacks of its own, other threads, forks, interrupts."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
from harness import step

from fastreg import SGD


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
