"""Matrix products on the kernels' threads: the same bits, in every process that may do them."""

import os
import subprocess
import sys
import textwrap

import pytest

from fastreg import _kernels

HEAD = """
    import hashlib, os, sys, threading
    import numpy as np
    import fastreg
    from fastreg import _kernels

    def products():
        rng, found = np.random.default_rng(0), hashlib.sha256()
        for dtype in (np.float32, np.float64):
            for m, k, n in [(128, 784, 256), (784, 128, 256), (1000, 900, 3), (700, 701, 702)]:
                a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
                for product in (a @ b, (b.T @ a.T).T, a @ a.T, a @ b[:, 0]):
                    found.update(np.ascontiguousarray(product).tobytes())
        return found.hexdigest()

    def start_team():
        fastreg.set_num_threads(2)
        fastreg.Dropout(0.5, rng=0).forward(np.ones(10**6))

    shared = lambda: _kernels.build_info()["shared_blas"]
"""


def run(code, **environment):
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2", **environment}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(HEAD) + textwrap.dedent(code)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.fixture(scope="module", autouse=True)
def can_share():
    if not int(run("start_team(); print(shared())")[0]):
        pytest.skip("NumPy's BLAS here takes no team")


# The last two make OpenMP refuse a full team, so that threads must be made.
@pytest.mark.parametrize("limit", [{}, {"OMP_THREAD_LIMIT": "1"}, {"OMP_DYNAMIC": "true"}], ids=str)
def test_products_keep_their_bits(limit):
    code = "print(shared(), products()); start_team(); print(shared(), products())"
    before, expected, after, found = run(code, **limit)
    assert (before, after) == ("0", "1")
    assert found == expected


def test_the_environment_can_prevent_it():
    assert run("start_team(); print(shared())", FASTREG_SHARE_TEAM="0") == ["0"]


def test_small_work_and_one_thread_leave_numpy_alone():
    code = """
        fastreg.set_num_threads(1)
        fastreg.Dropout(0.5, rng=0).forward(np.ones(10**6))
        print(shared())
        fastreg.set_num_threads(2)
        fastreg.Dropout(0.5, rng=0).forward(np.ones(10))
        print(shared())
    """
    assert run(code) == ["0", "0"]


def test_products_in_many_threads_at_once():
    code = """
        start_team()
        expected, found = products(), []
        threads = [threading.Thread(target=lambda: found.append(products())) for _ in range(4)]
        [t.start() for t in threads], [t.join() for t in threads]
        print(set(found) == {expected}, len(found))
    """
    assert run(code) == ["True", "4"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_multiplies():
    code = """
        start_team()
        expected = products()
        for _ in range(10):
            child = os.fork()
            if not child:
                os._exit(products() != expected)
            assert os.waitpid(child, 0)[1] == 0
            assert products() == expected
        print("done")
    """
    assert run(code) == ["done"]


def test_the_configuration_says_so():
    assert "shared_blas" in _kernels.build_info()
    code = "start_team(); fastreg.show_config()"
    assert "on the same threads" in " ".join(run(code))
