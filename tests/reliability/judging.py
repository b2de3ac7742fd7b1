"""The tests of a source, run in a copy of the tree until the first is red.

A process that has imported what tests import (NumPy, torch, scikit-learn), and nothing of ours, is
forked for each run. One case of each test comes first, then the next of each, so that a fault
meets every kind of test early. A run ends after LIMIT seconds of the processor; a test that alone
takes as long, or that waits for something that never comes, hangs.
"""

import contextlib
import dataclasses
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import pytest

LIMIT = 40  # seconds of the processor for one run
WAITS = 60  # seconds in which neither a run nor its children compute
TICK = 0.05
IMPORTED = ("numpy", "hypothesis", "mpmath", "scipy.stats", "sklearn.utils.estimator_checks")
IMPORTED += ("torch", "pandas", "sklearn.neural_network", "xml.dom.minidom")
#: These read the sources or the extension's file, and say nothing about what it computes.
BESIDE = ("test_seam", "test_flags", "test_extension_file")


@dataclasses.dataclass(frozen=True)
class Run:
    """What came of one: "green", "red", "hung" or "died", and at which test."""

    result: str
    test: str = ""
    seconds: float = 0.0


class Watch:
    """A plugin of pytest: orders the tests, says which one runs, and stops in time."""

    def __init__(self, path):
        self.path, self.red = path, ""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        cases = {}
        for item in items:
            cases.setdefault(item.nodeid.split("[")[0], []).append(item)
        rounds = []
        for place, found in enumerate(cases.values()):
            random.Random(0).shuffle(found)
            rounds += [(turn, place, item) for turn, item in enumerate(found)]
        items[:] = [item for _, _, item in sorted(rounds, key=lambda one: one[:2])]

    def pytest_runtest_logstart(self, nodeid):
        self.path.write_text(json.dumps(["hung", nodeid]))

    def pytest_runtest_logreport(self, report):
        if report.failed and not self.red:
            self.red = report.nodeid

    def pytest_collectreport(self, report):
        if report.failed and not self.red:
            self.red = report.nodeid or "nothing can be imported"

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item):
        if time.process_time() > LIMIT:
            item.session.shouldstop = "enough"


class Judge:
    """A copy of the tree, and runs of its tests."""

    def __init__(self, tree, imported=IMPORTED):
        for name in imported:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        self.folder = Path(tempfile.mkdtemp(prefix="fastreg-"))
        self.tree, self.said = self.folder / "tree", self.folder / "said.json"
        ignored = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", ".hypothesis", "build")
        shutil.copytree(tree, self.tree, ignore=ignored, symlinks=True)
        self.written = 1_000_000_000

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)  # what was ended may still write

    def write(self, file, data):
        """Change a file; each change has its second, since .pyc files know sources by it."""
        path = self.tree / file
        path.write_bytes(data)
        self.written += 1
        os.utime(path, (self.written, self.written))

    def run(self, tests, number=0):
        """Run tests, with the mutant of a number if the extension has some."""
        here = [one for one in tests if (self.tree / one.split("::")[0]).exists()]
        if not here:
            return Run("green")
        began = time.time()
        self.said.write_text(json.dumps(["hung", ""]))
        child = os.fork()
        if not child:
            self.inside(here, number)
        status = self.wait(child)
        result, test = json.loads(self.said.read_text())
        if result == "hung" and os.WIFSIGNALED(status):
            if os.WTERMSIG(status) not in (signal.SIGKILL, signal.SIGXCPU):
                result = "died"
        elif result == "hung":
            result = "died"  # it left without a word
        return Run(result, test, time.time() - began)

    def inside(self, tests, number):
        """In the child: never returns."""
        try:
            quiet = os.open(self.folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            resource.setrlimit(resource.RLIMIT_CPU, (2 * LIMIT, 2 * LIMIT))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.chdir(self.tree)
            os.environ.update(FASTREG_MUTANT=str(number), PYTHONPATH=str(self.tree))
            os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(self.folder / "examples")
            sys.path.insert(0, str(self.tree))
            watch = Watch(self.said)
            beside = [f"--ignore=tests/core/{one}.py" for one in BESIDE]
            options = ["-x", "-q", "-p", "no:cacheprovider", "--tb=short", *beside]
            options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
            code = pytest.main([*options, *tests], [watch])
            green = code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
            stopped = code == pytest.ExitCode.INTERRUPTED and not watch.red
            result = ["green", ""] if green or stopped else ["red", watch.red]
            self.said.write_text(json.dumps(result))
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(0)

    def wait(self, child):
        """The child's status; time in which this process is stopped does not count."""
        quiet, before = 0.0, -1
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return status
            time.sleep(TICK)
            spent = computed(child)
            quiet = 0.0 if spent != before else quiet + TICK
            before = spent
            if quiet > WAITS:
                end(child)


def computed(child):
    """What a process and its children have computed, in ticks of the system."""
    total = 0
    for one in [child, *children(child)]:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
    return total


def children(child):
    found = []
    for path in Path(f"/proc/{child}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for one in path.read_text().split():
                found += [int(one), *children(int(one))]
    return found


def end(child):
    for one in [*children(child), child]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
