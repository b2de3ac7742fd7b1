"""The seam itself: levels, threads, fork, and a harness that catches what it should."""

import ast
import inspect
import os
import pathlib
import platform
import subprocess
import sys
import textwrap

import harness
import numpy as np
import pytest

from fastreg import Adam
from fastreg._core import _kernels


def python(code, **environment):
    """Run code in a fresh interpreter; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_highest_level_is_the_default():
    code = "import fastreg._core._kernels as k; print(k.level())"
    assert python(code, FASTREG_ISA="") == _kernels.levels()[-1]


@pytest.mark.parametrize("name", _kernels.levels())
def test_a_level_can_be_forced(name):
    assert python("import fastreg._core._kernels as k; print(k.level())", FASTREG_ISA=name) == name


def test_which_levels_fuse_multiply_adds(level):
    """All that x86 has beside its first, and arm's only one."""
    arm = platform.machine() in ("aarch64", "arm64")
    assert _kernels.fuses() == (arm or level != "base")


def test_an_unknown_level_is_a_clear_error():
    code = """
        try:
            import fastreg
        except ValueError as error:
            print(error)
    """
    message = python(code, FASTREG_ISA="avx9")
    assert message.startswith("FASTREG_ISA must be one of base")
    assert "got 'avx9'" in message
    with pytest.raises(ValueError, match="must be one of"):
        _kernels.set_level("avx9")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_forked_child_works_after_threads_were_used(n):
    """libgomp alone would hang here; the time limit is the test."""
    code = """
        import os, sys
        import numpy as np
        import fastreg
        fastreg.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else THREADS)
        params, grads = {"w": np.ones(500_000)}, {"w": np.ones(500_000)}
        optimizer = fastreg.Adam()
        optimizer.update(params, grads)
        for generation in range(5):
            child = os.fork()
            if child == 0:
                optimizer.update(params, grads)
                if generation == 0 and os.fork() == 0:
                    optimizer.update(params, grads)
                    os._exit(0)
                os._exit(0 if optimizer.t == generation + 2 else 1)
            assert os.waitpid(child, 0)[1] == 0
            optimizer.update(params, grads)
        twin = {"w": np.ones(500_000)}
        with fastreg.num_threads(1):
            fresh = fastreg.Adam()
            for _ in range(6):
                fresh.update(twin, grads)
        print(np.array_equal(twin["w"], params["w"]))
    """
    assert python(code.replace("THREADS", str(n))) == "True"


def test_guards_catch_a_write_outside():
    """The harness itself: one element too far must be seen."""
    guard = harness.Guarded()
    array = guard(np.ones(10))
    beyond = np.lib.stride_tricks.as_strided(array, (11,), writeable=True)
    beyond[10] = 0.0
    with pytest.raises(AssertionError, match="past a buffer"):
        guard.check()


#: What the compiled module does beside running kernels over arrays.
OTHERWISE = {"levels", "level", "set_level", "rules", "philox", "empty_cache", "pool_info", "fuses"}
OTHERWISE |= {"power", "missing_power", "cosine", "sine"}
OTHERWISE |= {"num_threads", "set_team", "ask_of_all", "enter_scope", "leave_scope", "team_info"}
KERNELS = {n for n, f in vars(_kernels).items() if inspect.isroutine(f)} - OTHERWISE
TESTS = sorted(pathlib.Path(__file__).parent.parent.rglob("test_*.py"))


def test_every_test_that_calls_a_kernel_guards_its_arrays():
    for path in TESTS:
        for test in ast.parse(path.read_text("utf-8")).body:
            called = {
                node.attr for node in ast.walk(test)
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "_kernels"
            }  # fmt: skip
            if isinstance(test, ast.FunctionDef) and called & KERNELS:
                where = f"{path.name}, {test.name}: {called & KERNELS}"
                assert "guarded" in {one.arg for one in test.args.args}, where


def test_bit_comparison_catches_one_ulp():
    values = np.ones(100, np.float32)
    changed = values.copy()
    changed[57] = np.nextafter(np.float32(1), np.float32(2))
    with pytest.raises(AssertionError, match="1 of 100 differ, first at .57"):
        harness.same_bits(changed, values)
    with pytest.raises(AssertionError):
        harness.same_bits(np.array([0.0]), np.array([-0.0]))


def test_every_block_is_run_once(level, threads, dtype, guarded):
    """With no momentum each step moves every element by exactly the learning rate."""
    optimizer = Adam(learning_rate=0.25, beta1=0.0, beta2=0.0, epsilon=0.0)
    sizes = [3, 1, 40_000, 16_384, 16_385, 7, 100_000, 2]
    params = [guarded(np.zeros(size, dtype)) for size in sizes]
    optimizer.update(params, [np.ones(size, dtype) for size in sizes])
    for value in params:
        np.testing.assert_array_equal(value, -0.25)
