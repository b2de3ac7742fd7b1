"""``import fastreg`` in a new interpreter, beside ``import numpy`` and an empty program."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("code", ["import fastreg", "import numpy", "pass"])
def bench_import(benchmark, code):
    """Time the whole process, as its user waits for it."""
    # pip compiles what it installs; a tree must be allowed to keep its compiled files, too.
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    benchmark.group = "import"
    benchmark.pedantic(
        subprocess.run, ([sys.executable, "-c", code],), {"check": True, "env": env},
        rounds=11, warmup_rounds=1,
    )  # fmt: skip
