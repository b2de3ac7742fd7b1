"""No memory, anywhere: each allocation of every public call fails in turn (see starve.py)."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import starve
from test_errors import LEFT_OUT, MODULES, public_callables

PROGRAM = Path(starve.__file__)
#: Never without memory here: they print, or end what a test needs.
UNSWEPT = LEFT_OUT | {"renew_lock"}


def swept(burst, *shim, stride=1, limit=300, **environment):
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    done = subprocess.run(
        [sys.executable, PROGRAM, "0", str(stride), str(burst), "40", *shim],
        env={
            **os.environ, "PYTHONPATH": paths, "PYTHONMALLOC": "malloc", "MALLOC_PERTURB_": "165",
            "OPENBLAS_NUM_THREADS": "1", **environment,
        },
        capture_output=True, text=True, timeout=limit,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


@pytest.mark.skipif(importlib.util.find_spec("_testcapi") is None, reason="needs _testcapi")
@pytest.mark.parametrize("burst", [1, 20], ids=["one", "twenty in a row"])
def test_every_failed_allocation_is_a_memory_error_and_changes_nothing(burst):
    swept(burst, stride=1 if burst == 1 else 3)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="preloads glibc's allocator")
def test_those_of_arrays_and_of_the_pool_too(tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a compiler")
    library = str(tmp_path / "starved.so")
    source = str(PROGRAM.with_name("starved.c"))
    subprocess.run([compiler, "-O1", "-fPIC", "-shared", "-o", library, source], check=True)
    swept(1, library, LD_PRELOAD=library)


def test_every_public_callable_is_starved():
    table = {call.where for call in starve.all_calls()}
    names = {name for name, _ in public_callables()}
    for prefix, module in MODULES:
        for name in module.__all__:
            if callable(getattr(module, name)) and name not in UNSWEPT:
                names.add(prefix + name)
    missing = sorted(names - table)
    assert not missing, missing
