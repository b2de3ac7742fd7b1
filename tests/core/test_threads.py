"""Threads: who runs a kernel may change, its bits may not, and nobody is kept waiting."""

import ctypes
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from fresh import BUILT, GLIBC, LINUX, WORK, python
from harness import same_bits

import fastreg
from fastreg import nn
from fastreg._core import _kernels

TEAM = Path(__file__).parent / "team_driver.c"
SOURCES = Path(__file__).parents[2] / "csrc"


# The team by itself ------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="the driver forks")
@pytest.mark.parametrize("flags", ["-O2", "-fsanitize=thread", "-fsanitize=address,undefined"])
def test_the_team_by_itself(flags, tmp_path):
    """Each task once, from many callers and across forks; and what a region teaches."""
    compiler = shutil.which("clang") or shutil.which("clang-14") or shutil.which("cc")
    if not SOURCES.exists() or compiler is None:
        pytest.skip("needs the sources and a compiler")
    program = str(tmp_path / "team")
    options = ["-std=c11", "-g", "-O1", "-pthread", f"-I{SOURCES}", *flags.split()]
    built = subprocess.run([compiler, *options, TEAM, "-o", program], capture_output=True)
    if built.returncode and "sanitize" in flags:
        pytest.skip("this compiler has no such sanitizer")
    assert built.returncode == 0, built.stderr
    inherited = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(
        [program], env={**inherited, "TSAN_OPTIONS": "die_after_fork=0"}, capture_output=True,
        text=True, timeout=100,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stdout + done.stderr


@pytest.mark.parametrize("n", [2, 3, 16])
def test_bits_do_not_depend_on_threads(n, alone):
    code = "import fastreg; fastreg.set_num_threads({}); print(*{{work() for _ in range(20)}})"
    assert python(code.format(n)) == alone


@BUILT
def test_a_number_asked_for_is_obeyed():
    """Its helpers are started, its regions shared; without one it is up to the team."""
    code = """
        import fastreg
        fastreg.set_num_threads(5)
        work()
        info = fastreg._core._kernels.team_info()
        assert info["helpers"] == 4 and info["asked"] == 5
        assert sum(c["shared"] for c in info["classes"]) > 0
        assert sum(c["alone"] for c in info["classes"]) == 0
        with fastreg.num_threads(1):
            before = [c["shared"] for c in info["classes"]]
            work()
            print(before == [c["shared"] for c in fastreg._core._kernels.team_info()["classes"]])
    """
    assert python(code) == "True"


def test_configuration_says_what_was_chosen_and_why():
    code = """
        import fastreg
        fastreg._core._kernels.set_team(2, 0, b"")
        work()
        fastreg.show_config()
        with fastreg.num_threads(3):
            fastreg.show_config()
    """
    text = python(code)
    if not _kernels.team_info()["built"]:
        assert "one, built without threads" in text
        return
    assert "whichever has lately been faster" in text
    assert "chosen           as asked for" in text
    assert "shared" in text.split("from 1 MiB")[1].splitlines()[0]


# Many callers -------------------------------------------------------------------------------


@LINUX
@BUILT
def test_python_threads_share_one_team(alone):
    code = """
        from concurrent.futures import ThreadPoolExecutor
        import fastreg
        fastreg.set_num_threads(2)
        with ThreadPoolExecutor(16) as pool:
            bits = set(pool.map(lambda _: work(), range(64)))
            print(*bits, len(os.listdir("/proc/self/task")) - len(pool._threads))
    """
    assert python(code) == f"{alone} 2"  # the main thread and one helper


FORK = """
    import multiprocessing, fastreg
    if __name__ == "__main__":
        fastreg.set_num_threads(2)
        results = [work()]
        with multiprocessing.get_context(METHOD).Pool(3) as pool:
            results += pool.map(call, range(6))
        print(*set(results))
"""


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_processes_of_a_pool(method, alone, tmp_path):
    script = WORK + "def call(_):\n    return work()\n"
    script += textwrap.dedent(FORK).replace("METHOD", repr(method))
    (tmp_path / "pool.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", tmp_path / "pool.py"], capture_output=True, text=True,
        timeout=100, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == alone


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_under_joblib(backend, alone):
    pytest.importorskip("joblib")
    code = f"""
        import joblib, fastreg
        fastreg.set_num_threads(3)
        here = work()
        jobs = joblib.Parallel(2, backend={backend!r})(joblib.delayed(work)() for _ in range(6))
        print(*{{here, *jobs}})
    """
    assert python(code, "-W", "ignore") == alone


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_forks_while_another_thread_is_in_a_region(alone):
    code = """
        import signal, threading, fastreg
        fastreg.set_num_threads(3)
        work()  # no import is under way when the process forks
        stop = threading.Event()

        def run():
            while not stop.is_set():
                work()

        other = threading.Thread(target=run)
        other.start()
        for k in range(40):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                before = fastreg._core._kernels.team_info()["helpers"]
                bits = work()
                assert (before, fastreg._core._kernels.team_info()["helpers"]) == (0, HELPERS)
                print(bits, flush=True)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0, k
            work()
        stop.set()
        other.join()
    """
    helpers = 2 if _kernels.team_info()["built"] else 0
    printed = python(code.replace("HELPERS", str(helpers)), "-W", "ignore").split()
    assert printed == [alone] * 40


@pytest.mark.parametrize("order", [("torch", "fastreg"), ("fastreg", "torch")])
def test_beside_other_teams(order, alone):
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    code = f"""
        import {order[0]}, {order[1]}
        from sklearn.ensemble import HistGradientBoostingClassifier
        fastreg.set_num_threads(2)
        X = np.random.default_rng(0).standard_normal((2000, 20))
        seen = set()
        for _ in range(3):
            torch.ones(3000, 300).exp().sum()
            seen.add(work())
            HistGradientBoostingClassifier(max_iter=2).fit(X, X[:, 0] > 0)
            seen.add(work())
            X.T @ X
        print(*seen)
    """
    assert python(code, OPENBLAS_NUM_THREADS="2") == alone


# The floating-point mode --------------------------------------------------------------------

MODES = {  # bits of x86's MXCSR: rounding towards each side, flush to zero, denormals are zero
    "nearest": 0, "down": 0x2000, "up": 0x4000, "zero": 0x6000, "flush": 0x8040,
}  # fmt: skip


def steps(rule):
    def run(X):
        params, optimizer = {"w": np.zeros_like(X)}, rule(0.1)
        for _ in range(2):
            optimizer.update(params, {"w": X})
        return [params["w"]]

    return run


def both_ways(make):
    def run(X):
        layer = make(X.shape[1])
        return [layer.forward(X), layer.backward(X[::-1])]

    return run


IN_A_MODE = {
    "Momentum": steps(fastreg.Momentum),
    "Adam": steps(fastreg.Adam),
    "Dropout": both_ways(lambda n: fastreg.Dropout(0.3, rng=1)),
    "BatchNorm": both_ways(fastreg.BatchNorm),
    "LayerNorm": both_ways(fastreg.LayerNorm),
    "GELU": both_ways(lambda n: nn.GELU()),
    "l2_gradient": lambda X: [fastreg.l2_gradient(X, 0.3)],
    "matmul": lambda X: [fastreg.matmul(X, X[:100].T)],
}


@GLIBC
@pytest.mark.skipif(platform.machine() != "x86_64", reason="sets x86's control register")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("work", IN_A_MODE)
@pytest.mark.parametrize("mode", MODES)
def test_helpers_compute_in_the_callers_mode(mode, work, dtype, rng):
    libm = ctypes.CDLL("libm.so.6")
    before, changed = (ctypes.c_uint32 * 8)(), (ctypes.c_uint32 * 8)()
    X = rng.standard_normal((1000, 500)).astype(dtype)
    X[::7] *= np.finfo(dtype).tiny / 64  # subnormal
    X[:, ::7] *= np.finfo(dtype).tiny / 64

    def done(threads):
        with fastreg.num_threads(threads):
            libm.fesetenv(changed)
            try:
                return IN_A_MODE[work](X)
            finally:
                libm.fesetenv(before)

    def compare(found, expected):
        for one, other in zip(found, expected, strict=True):
            same_bits(one, other)

    libm.fegetenv(before), libm.fegetenv(changed)
    plain = done(3)  # a team exists, its helpers in the mode of the process
    changed[7] |= MODES[mode]  # after x87's seven words
    one = done(1)
    for found, of_the_process in zip(one, plain, strict=True):  # the mode matters
        assert mode == "nearest" or not np.array_equal(found, of_the_process)
    for threads in (2, 3, 8):
        compare(done(threads), one)
    changed[7] = before[7]
    compare(done(3), plain)  # and the helpers' mode is the caller's again
