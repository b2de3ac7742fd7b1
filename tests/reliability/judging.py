"""The tests of a source, run in a copy of the tree until the first is red.

A process that has imported what tests import (NumPy, torch, scikit-learn), and nothing of ours, is
forked for each run. One case of each test comes first, then the next of each, so that a fault
meets every kind of test early. A run ends after LIMIT seconds of the processor; a test that alone
takes as long, or that waits for something that never comes, hangs.
"""

import contextlib
import dataclasses
import importlib
import itertools
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

import mutant_builds
import pytest

LIMIT = 40  # seconds of the processor for one run
WAITS = 60  # seconds in which neither a run nor its children compute
TICK = 0.05
IMPORTED = ("numpy", "hypothesis", "mpmath", "scipy.stats", "sklearn.utils.estimator_checks")
IMPORTED += ("torch", "pandas", "sklearn.neural_network", "xml.dom.minidom")
#: These read the sources or the extension's file, and say nothing about what it computes.
BESIDE = ("core/test_seam", "core/test_flags", "core/test_extension_file")
SLOW = ("train/test_accuracy",)  # one test that takes longer than a run may


@dataclasses.dataclass(frozen=True)
class Run:
    """What came of one: "green", "red", "hung" or "died", and at which test."""

    result: str
    test: str = ""
    seconds: float = 0.0


class Watch:
    """A plugin of pytest: orders the tests, says which one runs, and stops in time."""

    def __init__(self, path):
        self.path, self.red, self.enough = path, "", False

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
            item.session.shouldstop, self.enough = "enough", True

    def say(self, green):
        """What came of it: to be stopped in time is green as well."""
        green = (green or self.enough) and not self.red
        self.path.write_text(json.dumps(["green" if green else "red", self.red]))


class Each(Watch):
    """Runs the tests for each mutant of the build in a fork of the process that collected them."""

    def __init__(self, judge, lines, numbers):
        super().__init__(judge.said)
        self.judge, self.lines, self.numbers = judge, lines, numbers

    def pytest_runtestloop(self, session):
        if session.testsfailed:
            return None  # to collect, which says why
        for number in self.numbers:
            began = time.time()
            self.path.write_text(json.dumps(["hung", ""]))
            child = os.fork()
            if not child:
                self.one(session, number)
            run = self.judge.told(self.judge.wait(child), began)
            with open(self.lines, "a") as file:
                file.write(json.dumps([number, *dataclasses.astuple(run)]) + "\n")
        return True

    def one(self, session, number):
        """In the child: never returns."""
        try:
            mutant_builds.turn_on(number)
            for item, after in itertools.zip_longest(session.items, session.items[1:]):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
                if self.red or session.shouldstop:
                    break
            self.say(True)
        finally:
            os._exit(0)


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

    def run(self, tests):
        """Run tests as the tree is."""
        here = self.here(tests)
        if not here:
            return Run("green")
        began = time.time()
        self.said.write_text(json.dumps(["hung", ""]))
        child = os.fork()
        if not child:
            self.inside(here, Watch(self.said))
        return self.told(self.wait(child), began)

    def run_each(self, tests, numbers):
        """Collect tests once and run them for each mutant of the build: (number, `Run`) each."""
        lines, here, read = self.folder / "each.jsonl", self.here(tests), 0
        lines.write_text("")
        child = os.fork()
        if not child:
            self.inside(here, Each(self, lines, numbers))
        done = not here
        while not done:
            time.sleep(TICK)
            done = os.waitpid(child, os.WNOHANG)[0]
            for line in lines.read_text().splitlines()[read:]:
                number, *found = json.loads(line)
                read += 1
                yield number, Run(*found)
        if read < len(numbers):
            raise RuntimeError((self.folder / "output.txt").read_text()[-2000:])

    def here(self, tests):
        return [one for one in tests if (self.tree / one.split("::")[0]).exists()]

    def told(self, status, began):
        """What a run said before it ended, or how it ended without a word."""
        result, test = json.loads(self.said.read_text())
        ended = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGXCPU)
        if result == "hung" and not ended:
            result = "died"
        return Run(result, test, time.time() - began)

    def inside(self, tests, watch):
        """In the child: never returns."""
        try:
            quiet = os.open(self.folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            resource.setrlimit(resource.RLIMIT_CPU, (2 * LIMIT, 2 * LIMIT))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.chdir(self.tree)
            os.environ.update(FASTREG_MUTANT="0", PYTHONPATH=str(self.tree))
            os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(self.folder / "examples")
            sys.path.insert(0, str(self.tree))
            options = ["-x", "-q", "-p", "no:cacheprovider", "--tb=short"]
            options += [f"--ignore=tests/{one}.py" for one in (*BESIDE, *SLOW)]
            options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
            code = pytest.main([*options, *tests], [watch])
            watch.say(code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED))
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
