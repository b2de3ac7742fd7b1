"""Work in an interpreter of its own: what it prints, and the bits of a fixed piece of work."""

import os
import platform
import subprocess
import sys
import textwrap

import pytest

from fastreg._core import _kernels

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's /proc")
GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="opens glibc's libm.so.6")
BUILT = pytest.mark.skipif(not _kernels.team_info()["built"], reason="built without threads")


def python(code, *flags, limit=300, **env):
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
