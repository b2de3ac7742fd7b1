"""``import fastreg`` in a new interpreter, against ``import numpy``."""

import os
import subprocess
import sys
from functools import partial

from comparison import Comparison
from targets import Target

import fastreg


def start(code):
    """Run a new interpreter and return what it prints."""
    command = [sys.executable, "-c", code]
    # pip compiles what it installs; a tree must be allowed to keep its compiled files, too.
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout


def over_numpy(result):
    """Divide the import's time by that of NumPy, both without the interpreter's own start."""
    python, numpy = result.seconds["python"], result.seconds["import numpy"]
    return (result.fastreg - python) / (numpy - python)


def bench_import(compare):
    """Time the whole process, as its user waits for it."""
    assert start("import fastreg; print(fastreg.__file__)").strip() == fastreg.__file__

    compare(
        Comparison(
            "import",
            "fastreg",
            partial(start, "import fastreg"),
            {"import numpy": partial(start, "import numpy"), "python": partial(start, "")},
            targets=(Target("≤ 1.3× import numpy", over_numpy, at_most=1.3),),
        )
    )
