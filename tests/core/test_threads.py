"""Threads: who runs a kernel may change, its bits may not, and nobody is kept waiting."""

import asyncio
import contextvars
import ctypes
import multiprocessing
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from harness import same_bits

import fastreg
from fastreg import config
from fastreg._core import _kernels
from fastreg.nn import softmax_cross_entropy

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's /proc")
BUILT = pytest.mark.skipif(not _kernels.team_info()["built"], reason="built without threads")
TEAM = Path(__file__).parent / "team_driver.c"


def python(code, *flags, limit=60, **env):
    """What a fresh interpreter prints; it must end well and in time."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(WORK) + textwrap.dedent(code)],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **env},
        capture_output=True, text=True, timeout=limit,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


WORK = """
import hashlib, os, sys
import numpy as np

def work():
    "The bits of an update, a dropout and both passes of a batch norm, each worth a team."
    import fastreg
    X = np.random.default_rng(5).standard_normal((300, 700))
    W = {"w": X.copy()}
    fastreg.Adam().update(W, {"w": X[::-1]})
    norm = fastreg.BatchNorm(700)
    results = W["w"], fastreg.Dropout(0.5, rng=1).forward(X), norm.forward(X), norm.backward(W["w"])
    return hashlib.sha256(b"".join(result.tobytes() for result in results)).hexdigest()
"""


@pytest.fixture(scope="module")
def alone():
    """The bits of the work on one thread."""
    return python("import fastreg; fastreg.set_num_threads(1); print(work())")


# The team by itself ------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="the driver forks")
@pytest.mark.parametrize("flags", ["-O2", "-fsanitize=thread", "-fsanitize=address,undefined"])
def test_the_team_by_itself(flags, tmp_path):
    """Each task once, from many callers and across forks; and what a region teaches."""
    compiler = shutil.which("clang") or shutil.which("clang-14") or shutil.which("cc")
    if not (TEAM.parent.parent / "csrc").exists() or compiler is None:
        pytest.skip("needs the sources and a compiler")
    program = str(tmp_path / "team")
    options = ["-std=c11", "-g", "-O1", "-pthread", *flags.split()]
    built = subprocess.run([compiler, *options, TEAM, "-o", program], capture_output=True)
    if built.returncode and "sanitize" in flags:
        pytest.skip("this compiler has no such sanitizer")
    assert built.returncode == 0, built.stderr
    done = subprocess.run(
        [program], env={**os.environ, "TSAN_OPTIONS": "die_after_fork=0"}, capture_output=True,
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


# No room, no cores --------------------------------------------------------------------------


@LINUX
@BUILT
def test_no_room_for_threads_means_one(alone):
    """Without address space for a stack no thread starts; once there is room, one does."""
    code = WORK + textwrap.dedent("""
        import resource, fastreg
        fastreg.set_num_threads(2)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
        bits = work()
        info = fastreg._core._kernels.team_info()
        assert info["refused"] and info["helpers"] == 0, info
        import io
        text = io.StringIO()
        fastreg.show_config(file=text)
        assert "the system refuses to start more" in text.getvalue()
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
        import time
        time.sleep(0.2)
        assert bits == work()
        info = fastreg._core._kernels.team_info()
        assert not info["refused"] and info["helpers"] == 1, info
        print(bits)
    """)
    command = f"ulimit -S -s 1000000; exec {sys.executable} -c '{code}'"
    done = subprocess.run(
        ["sh", "-c", command], env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == alone


GROUPS = {  # /proc/self/cgroup, files under the mount, cores
    "v2, own group": ("0::/app", {"app/cpu.max": "150000 100000"}, 2),
    "v2, the smallest of all around": (
        "0::/pod/app/job",
        {"pod/cpu.max": "max 100000", "pod/app/cpu.max": "300000 100000",
         "pod/app/job/cpu.max": "900000 100000"},
        3,
    ),
    "v2 beside v1": ("3:cpuset:/\n0::/x", {"unified/x/cpu.max": "50000 100000"}, 1),
    "v1, nested": (
        "5:memory:/m\n4:cpu,cpuacct:/slurm/job7",
        {"cpu,cpuacct/slurm/job7/cpu.cfs_quota_us": "-1",
         "cpu,cpuacct/slurm/job7/cpu.cfs_period_us": "100000",
         "cpu,cpuacct/slurm/cpu.cfs_quota_us": "250000",
         "cpu,cpuacct/slurm/cpu.cfs_period_us": "100000"},
        3,
    ),
    "v1, the container's own group is the root": (
        "4:cpu:/docker/0a1b",
        {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "50000"},
        4,
    ),
    "another controller": ("4:cpuset:/x", {"cpu/x/cpu.cfs_quota_us": "1"}, None),
    "none": ("0::/x", {}, None),
    "nonsense": ("what", {"cpu.max": "many"}, None),
}  # fmt: skip


@pytest.mark.parametrize("case", GROUPS)
def test_quota_of_the_process_and_all_around_it(case, tmp_path, monkeypatch):
    own, files, cores = GROUPS[case]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "own").write_text(own + "\n")
    monkeypatch.setattr(config, "CGROUP", str(tmp_path))
    monkeypatch.setattr(config, "OWN_GROUPS", str(tmp_path / "own"))
    assert config._quota_cores() == cores


@pytest.mark.parametrize(("limit", "threads"), [("1", 1), ("3", 3), ("99", 4), ("", 4), ("x", 4)])
def test_openmp_thread_limit(limit, threads, monkeypatch):
    monkeypatch.setenv("OMP_THREAD_LIMIT", limit)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(config, "_usable_cores", lambda: 4)
    monkeypatch.setattr(config, "_quota_cores", lambda: None)
    assert config._default_threads() == threads


@LINUX
@BUILT
@pytest.mark.skipif(config._usable_cores() < 2, reason="one core")
@pytest.mark.parametrize("first", ["fastreg", "sklearn.ensemble", "torch"])
def test_bound_openmp_threads_leave_us_our_cores(first, alone):
    """A runtime that binds the main thread to one core does not bind the team."""
    pytest.importorskip(first.split(".")[0])
    code = f"""
        import {first}
        import sklearn.ensemble
        import fastreg
        fastreg.set_num_threads(2)
        bits = work()
        mine = os.sched_getaffinity(0)
        print(bits, fastreg._core._kernels.num_threads(), fastreg.config._default_threads())
        helpers = [os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")]
        assert len(mine) == 1, "the runtime was to bind the main thread"
        assert any(len(cores) > 1 for cores in helpers), helpers
    """
    bits, asked, threads = python(code, OMP_PROC_BIND="true").split()
    assert (bits, asked) == (alone, "2")
    assert int(threads) == config._default_threads()


@LINUX
def test_libraries_named_like_openmp_do_no_harm(tmp_path, monkeypatch):
    """Replaced on the disk, without OpenMP's functions, in a folder with a space."""
    monkeypatch.setenv("OMP_PLACES", "cores")
    lines = [line.split(maxsplit=5) for line in config._read("/proc/self/maps").splitlines()]
    some = next(
        line[5] for line in lines if len(line) > 5 and os.path.basename(line[5]) == "libm.so.6"
    )
    trace = tmp_path / "a folder" / "libompitrace.so.40"
    trace.parent.mkdir()
    shutil.copy(some, trace)
    start = "7f0000000000-7f0000001000 r-xp 00000000 00:20 1 "
    maps = [
        start,
        start + str(trace),
        start + f"{tmp_path}/libgomp.so.1 (deleted)",
        start + "[heap]",
    ]
    monkeypatch.setattr(config, "_read", lambda path: "\n".join(maps))
    opened = []
    load = ctypes.CDLL
    monkeypatch.setattr(ctypes, "CDLL", lambda path: (opened.append(path), load(path))[1])
    assert config._unbound_cores() == set()
    assert opened == [str(trace), f"{tmp_path}/libgomp.so.1 (deleted)"]


def test_a_machine_of_more_cores_than_the_team_has_lanes():
    code = """
        import fastreg
        fastreg._core._kernels.set_team(100_000, 0, b"")
        print(fastreg.get_num_threads())
    """
    assert python(code) == "1024"


@LINUX
def test_affinity_is_kept(alone):
    code = """
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        import fastreg
        print(fastreg.get_num_threads(), work())
        fastreg.set_num_threads(3)
        work()
        for task in os.listdir("/proc/self/task"):
            assert len(os.sched_getaffinity(int(task))) == 1
    """
    assert python(code) == f"1 {alone}"


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


@pytest.mark.skipif(
    not (sys.platform.startswith("linux") and os.uname().machine == "x86_64"),
    reason="sets x86's control register through glibc",
)
@pytest.mark.parametrize("mode", MODES)
def test_helpers_compute_in_the_callers_mode(mode):
    libm = ctypes.CDLL("libm.so.6")
    before, changed = (ctypes.c_uint32 * 8)(), (ctypes.c_uint32 * 8)()
    X = np.random.default_rng(0).standard_normal(500_000)
    X[::7] *= 1e-310

    def update(threads):
        params = {"w": np.zeros_like(X)}
        optimizer = fastreg.Momentum(0.1)
        with fastreg.num_threads(threads):
            libm.fesetenv(changed)
            try:
                for _ in range(2):
                    optimizer.update(params, {"w": X})
            finally:
                libm.fesetenv(before)
        return params["w"]

    libm.fegetenv(before), libm.fegetenv(changed)
    plain = update(3)  # a team exists, its helpers in the mode of the process
    changed[7] |= MODES[mode]  # after x87's seven words
    one = update(1)
    assert mode == "nearest" or not np.array_equal(one, plain)  # the mode matters
    for threads in (2, 3, 8):
        same_bits(update(threads), one)
    changed[7] = before[7]
    same_bits(update(3), plain)  # and the helpers' mode is the caller's again


# Scopes -------------------------------------------------------------------------------------


def held(n):
    with fastreg.num_threads(n):
        yield fastreg.get_num_threads()


def test_generators_leave_their_scopes_in_any_order():
    before = fastreg.get_num_threads()
    one, two, three = held(5), held(6), held(7)
    assert [next(one), next(two), next(three)] == [5, 6, 7]
    two.close()
    assert fastreg.get_num_threads() == 7
    one.close()
    assert fastreg.get_num_threads() == 7
    three.close()
    assert fastreg.get_num_threads() == before


def test_a_generator_ended_in_another_thread_leaves_nothing():
    before = fastreg.get_num_threads()
    generator = held(9)
    next(generator)
    seen = []

    def end():
        generator.close()
        seen.append(fastreg.get_num_threads())

    other = threading.Thread(target=end)
    other.start()
    other.join()
    assert seen == [before]
    assert fastreg.get_num_threads() == before


def test_a_generator_ended_in_a_copy_of_its_context_leaves_nothing():
    before = fastreg.get_num_threads()
    generator, other = held(9), held(10)
    next(generator)
    copy = contextvars.copy_context()
    next(other)
    copy.run(generator.close)
    assert copy.run(fastreg.get_num_threads) == before
    assert fastreg.get_num_threads() == 10
    other.close()
    assert fastreg.get_num_threads() == before

    async def numbers():
        with fastreg.num_threads(9):
            yield

    async def main():
        opened = numbers()
        await anext(opened)
        await asyncio.create_task(opened.aclose())  # a task runs in a copy
        assert fastreg.get_num_threads() == before

    asyncio.run(main())


def test_scopes_that_overlap_in_turn_leave_nothing_behind():
    """One is always open, as in a pipeline; those left must not pile up behind it."""
    code = """
        import gc, fastreg

        def held(n):
            with fastreg.num_threads(n):
                yield

        generator = held(2)
        next(generator)
        for k in range(200_000):
            following = held(2 + k % 5)
            next(following)
            generator.close()
            generator = following
        scope = type(fastreg._core._kernels.enter_scope(1))
        print(sum(type(one) is scope for one in gc.get_objects()), fastreg.get_num_threads())
    """
    count, n = map(int, python(code).split())
    assert count <= 3
    assert n == 1


def test_a_decorator_holds_for_each_call_and_an_exception_ends_it():
    before = fastreg.get_num_threads()

    @fastreg.num_threads(5)
    def failing():
        raise ArithmeticError(fastreg.get_num_threads())

    for _ in range(2):
        with pytest.raises(ArithmeticError, match="5"):
            failing()
        assert fastreg.get_num_threads() == before


def test_tasks_have_their_own_scopes():
    before = fastreg.get_num_threads()
    seen = {}

    async def task(n, turn):
        with fastreg.num_threads(n):
            await asyncio.sleep(0)
            turn.set()
            await asyncio.sleep(0)
            seen[n] = fastreg.get_num_threads()
            seen[-n] = await asyncio.to_thread(fastreg.get_num_threads)

    async def child(go):
        await go.wait()
        return fastreg.get_num_threads()

    async def main():
        turn, go = asyncio.Event(), asyncio.Event()
        with fastreg.num_threads(8):
            inherits = asyncio.create_task(child(go))
        await asyncio.gather(task(3, turn), task(4, turn))
        assert fastreg.get_num_threads() == before
        go.set()
        assert await inherits == 8  # as any context variable: a task has a copy of its own

    asyncio.run(main())
    assert seen == {3: 3, -3: 3, 4: 4, -4: 4}
    assert fastreg.get_num_threads() == before


def test_a_copied_context_keeps_its_number():
    with fastreg.num_threads(11):
        copy = contextvars.copy_context()
    assert copy.run(fastreg.get_num_threads) == 11
    assert contextvars.Context().run(fastreg.get_num_threads) == fastreg.get_num_threads()


@BUILT
def test_kernels_follow_the_scope():
    """What is asked for where a kernel is called reaches the team, in every family."""
    X = np.ones((512, 256))
    norm, rows = fastreg.BatchNorm(256), fastreg.LayerNorm(256)
    calls = [
        lambda: fastreg.SGD(1e-3).update({"w": X.copy()}, {"w": X}),
        lambda: fastreg.SGD(1e-3, clip_norm=1.0).update({"w": X.copy()}, {"w": X}),
        lambda: fastreg.Dropout(0.5, rng=0).forward(X),
        lambda: norm.backward(norm.forward(X).copy()),
        lambda: rows.backward(rows.forward(X).copy()),
        lambda: fastreg.l2_regularization_loss({"w": X}, 0.1),
        lambda: fastreg.max_norm(X.copy(), 1.0),
        lambda: softmax_cross_entropy(X, np.zeros(512, int)),
    ]

    def shared():
        return sum(one["shared"] + one["taken"] for one in _kernels.team_info()["classes"])

    for call in calls:
        before = shared()
        with fastreg.num_threads(1):
            call()
        assert shared() == before
        with fastreg.num_threads(3):
            call()
        assert shared() > before
