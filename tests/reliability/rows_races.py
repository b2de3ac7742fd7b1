"""M-03b: the tests in Python with an extension that the thread sanitizer watches.

Python and NumPy are as they always are: what the extension reads and writes is looked at, and of
the rest how threads start, end, wait and lock, the interpreter's lock among them. Tests start
processes of their own, so what the sanitizer finds is written to files, which are read afterwards.
A report in which the extension does not occur is not ours: OpenMP's threads, beside which some tests
run, wait in ways that the sanitizer does not know.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import rows_builds
from charter import Broken, row
from drivers import edited
from rows_memory import unordered

#: Tests with threads of their own, which come first, some by name; then all of the kernels.
THREADED = [
    "tests/core/test_threads.py::test_bits_do_not_depend_on_threads",
    "tests/optim/test_rules.py::test_threads_sharing_one_optimizer_take_turns",
    "tests/core/test_memory.py::test_threads_never_share_a_block",
    "tests/core/test_memory.py::test_a_forked_child_has_memory_of_its_own",
    "tests/core/test_scopes.py",
    "tests/test_config.py",
    "tests/test_checkpoint.py",
    "tests/optim/test_state.py",
    "tests/optim/test_interrupts.py",
    "tests/optim/test_rules.py",
    "tests/core/test_kernels.py",
    "tests/core/test_small_arrays.py",
    "tests/core/test_threads.py",
    "tests/core/test_locks.py",
    "tests/data/test_csv_format.py",
    "tests/dist/test_rows.py",
    "tests/estimators/test_composition.py",
    "tests/sweeps/test_errors.py",
    "tests/frameworks/test_torch_modules.py",
    "tests/lab/test_fits.py",
]
#: Left out, and why.
UNWATCHED = {
    "tests/lab/test_fits.py::test_an_early_estimate_is_about_right": "measures",
    "tests/core/test_threads.py::test_python_threads_share_one_team": "counts threads, of which one "
    "is the sanitizer's",
    "tests/core/test_memory.py": "counts pages, for an hour; what has threads there is named above",
    "tests/core/test_thread_limits.py": "limits address space, of which shadow memory takes more",
    "tests/core/test_locks.py::test_a_handler_never_waits_for_the_thread_it_interrupts": "a signal "
    "every 0.7 ms comes faster than its handler ends here, which calls itself until Python stops it",
}

counted = edited(
    (
        "csrc/dropout_tmpl.h",
        "    const real scale = (real)mask->scale;\n    uint16_t pieces[FR_MASK_BATCH];\n"
        "    const uint32_t limit = philox_pieces(pieces, n, first, mask);\n    FR_ELEMENTWISE",
        "    static volatile unsigned calls;\n    calls = calls + 1;\n"
        "    const real scale = (real)mask->scale;\n    uint16_t pieces[FR_MASK_BATCH];\n"
        "    const uint32_t limit = philox_pieces(pieces, n, first, mask);\n    FR_ELEMENTWISE",
    )
)
unlocked = edited(
    (
        "fastreg/_core/_lock.pxi",
        "        if not PyThread_acquire_lock(self.mutex, 0):\n            self.wait()\n"
        "        self.owner",
        "        self.owner",
    )
)
counted.__name__, unlocked.__name__ = "counted", "unlocked"


def library():
    return rows_builds.of_gcc("libtsan.so")


def missing():
    if sys.platform != "linux" or not shutil.which("cc"):
        return "needs Linux and gcc"
    if not os.path.isabs(library()):  # else it is a name, which the compiler does not know
        return "gcc's thread sanitizer is not installed"
    done = subprocess.run(
        [sys.executable, "-c", ""], env={**os.environ, "LD_PRELOAD": library()}, capture_output=True
    )
    return "Python does not start with the sanitizer's library" if done.returncode else ""


def chosen(n):
    """The first n percent of these files, two at least."""
    kernels = [path for path in rows_builds.files() if path.startswith(tuple(rows_builds.FIRST))]
    found = [path for path in dict.fromkeys(THREADED + kernels) if path not in UNWATCHED]
    return found[: max(2, len(found) * n // 100)]


def ours(folder):
    """The reports in which a line of the extension occurs."""
    texts = [path.read_text("utf-8") for path in sorted(Path(folder).iterdir())]
    reports = re.split(r"^={18}\n", "".join(texts), flags=re.MULTILINE)
    return "\n".join(report for report in reports if "(_kernels." in report)


def watched(tree, paths, **environment):
    """Run tests as `tested` does; a report of ours, by any process, is an error."""
    unwanted = [f"--deselect={name}" for name in UNWATCHED if "::" in name]
    with tempfile.TemporaryDirectory(prefix="fastreg-") as folder:
        options = f"die_after_fork=0:history_size=7:exitcode=0:log_path={folder}/report"
        failed = said = ""
        try:
            said = rows_builds.tested(
                tree, ["-x", *unwanted, *paths],
                LD_PRELOAD=library(), TSAN_OPTIONS=options, **environment,
            )  # fmt: skip
        except Broken as error:
            failed = str(error)
        reports = ours(folder)
    if failed or reports:
        raise Broken(f"{paths}\n{reports[:5000]}{failed}")
    return said


@row(
    "M-03b",
    "the thread sanitizer finds no race in the extension while the tests with threads and those of the kernels run; nothing of ours is suppressed",
    "percent of the files of tests",
    lacks="files that neither call kernels directly nor start threads; tests that count threads or pages, limit memory, measure, or get a signal every 0.7 ms; clang, whose library cannot be preloaded here; and an interpreter without its lock",
    full=100,
    planted=1,
    slow=True,
    faults=(unordered, counted, unlocked),
    needs=missing,
)
def raceless(n):
    """So many of the files; a test that fails without a report is an error of another kind."""
    switches = {"FASTREG_SANITIZE": "thread"}
    tree = rows_builds.built(**switches)
    try:
        rows_builds.suite("races", tree, chosen(n), switches, tested=watched)
    except Broken as error:
        raise (
            error if "WARNING: ThreadSanitizer" in str(error) else RuntimeError(str(error))
        ) from None
    finally:
        shutil.rmtree(tree.parent)
    return n
