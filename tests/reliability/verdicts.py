"""Mutants judged and written down (mutants.json), as they come: what is known is not judged again.

``python tests/reliability/verdicts.py all 300`` judges until 300 are known, two fifths in C, one
in Cython and two in Python; ``… c 40 skip 10`` is about one kind alone; ``… again 3`` plants some
that were killed a second time, in Python alone, which needs no build. A test that noticed a mutant
must be green without it, in the same build.
"""

import argparse
import fcntl
import json
import os
import signal
import sys

import judging
import mutant_builds
from mutation import HERE, TREE, first

BUILDS = TREE / "build" / "mutants"  # stays, since what was compiled is used again
FILE = HERE / "mutants.json"
TESTS = json.loads((HERE / "mutation_tests.json").read_text("utf-8"))
ONLY = "FASTREG_MUTANT_TESTS"  # look at these alone: what the row's own fault does
SHARES = {"c": 0.4, "cython": 0.2, "python": 0.4}
SIGNAL = ", by a signal"
SETTLED = 8  # mutants whose tests are run without them in one go


def load():
    return json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}


def tests_of(file):
    return TESTS[max((name for name in TESTS if file.startswith(name)), key=len)]


def stages(mutant, known):
    """Lists of tests, one after another: that which noticed it before, narrow ones, wide ones."""
    if os.environ.get(ONLY):
        return [os.environ[ONLY].split()]
    before = known.get(mutant.key, {}).get("test", "").removesuffix(SIGNAL)
    return [[before]] * before.startswith("tests/") + [one.split() for one in tests_of(mutant.file)]


def record(mutant, result, test, seconds):
    with open(__file__, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = load()
        why = known.get(mutant.key, {}).get("why", "")
        known[mutant.key] = {
            "file": mutant.file, "line": mutant.line, "text": mutant.text, "old": mutant.old,
            "new": mutant.new, "result": result, "test": test, "seconds": round(seconds, 1),
            **({"why": why} if why and result == "lived" else {}),
        }  # fmt: skip
        text = json.dumps(dict(sorted(known.items())), indent=1, ensure_ascii=False)
        FILE.write_text(text + "\n", "utf-8")


class Session:
    """Verdicts by one judge."""

    def __init__(self, judge, known, narrow=False):
        self.judge, self.known, self.narrow = judge, known, narrow
        self.pending, self.results = [], []

    def is_settled(self, mutant):
        """Whether another process has judged it since this one began."""
        found = load().get(mutant.key)
        return found is not None and found != self.known.get(mutant.key)

    def stages(self, mutant):
        chosen = stages(mutant, self.known)
        return (chosen[:-1] or chosen) if self.narrow else chosen

    def judged(self, mutant):
        """Run the tests of a mutant that is planted, stage by stage."""
        for tests in self.stages(mutant):
            run = self.judge.run(tests)
            if run.result != "green":
                break
        self.enter(mutant, run)

    def judged_together(self, mutants, numbers):
        """The same for mutants of one build, those with the same tests one after another."""
        left = {one: self.stages(one) for one in mutants if not self.is_settled(one)}
        while left:
            groups = {}
            for mutant, tests in left.items():
                groups.setdefault(tuple(tests.pop(0)), {})[numbers[mutant.key]] = mutant
            for tests, group in groups.items():
                for number, run in self.judge.run_each(tests, list(group)):
                    if run.result != "green" or not left[group[number]]:
                        del left[group[number]]
                        self.enter(group[number], run)
                self.settle()

    def enter(self, mutant, run):
        self.pending.append((mutant, run, run.seconds))
        where = f"{mutant.file}:{mutant.line}: {mutant.old!r} -> {mutant.new!r}"
        print(f"{run.result} {where} {run.test} {run.seconds:.1f} s", flush=True)

    def settle(self):
        """Write down what is pending, unless its test is red without a mutant."""
        tests = sorted({run.test for _, run, _ in self.pending if "::" in run.test})
        bad = set()
        if tests and self.judge.run(tests).result != "green":
            bad = {one for one in tests if self.judge.run([one]).result != "green"}
        for mutant, run, seconds in self.pending:
            if run.test in bad:
                print(f"{run.test} is red without a mutant", flush=True)
                continue
            lived = "open" if self.narrow else "lived"  # until wide tests have run, too
            result = {"green": lived, "hung": "hung"}.get(run.result, "killed")
            said = SIGNAL if run.result == "died" else ""
            test = "" if result == lived else (run.test or "nothing can be imported") + said
            record(mutant, result, test, seconds)
            self.results.append(result)
        self.pending = []


def planted_in_python(session, mutants):
    for k, mutant in enumerate(mutants, 1):
        if session.is_settled(mutant):
            continue
        data = (TREE / mutant.file).read_bytes()
        session.judge.write(mutant.file, mutant.planted(data))
        session.judged(mutant)
        session.judge.write(mutant.file, data)
        if k % SETTLED == 0:
            session.settle()
    session.settle()


def planted_in_builds(session, mutants, together, kind):
    """Those that can stand in one build, then each of the others in its own."""
    builds = mutant_builds.Builds(TREE, BUILDS / kind)
    path, numbers = builds.switched(together)
    data = path.read_bytes()
    session.judge.write(mutant_builds.OUTPUT, data)
    session.judged_together([one for one in mutants if one.key in numbers], numbers)
    for mutant in mutants:
        if mutant.key not in numbers:
            try:
                built = builds.alone(mutant).read_bytes()
            except mutant_builds.NotBuilt:
                print(f"not built {mutant.file}:{mutant.line}: {mutant.old!r} -> {mutant.new!r}")
                continue
            session.judge.write(mutant_builds.OUTPUT, built)
            session.judged(mutant)
            session.judge.write(mutant_builds.OUTPUT, data)
            session.settle()


def run(kind, n, skip=0, afresh=False, only=(), narrow=False):
    """Judge the first ``n`` mutants of a kind, without those that are known unless ``afresh``."""
    known = load()
    mutants = first(kind)[skip : skip + n]
    settled = {key for key, one in known.items() if narrow or one["result"] != "open"}
    asked = only or [one.key for one in mutants if afresh or one.key not in settled]
    missing = [one for one in mutants if one.key in asked]
    if not missing:
        return []
    judge = judging.Judge(TREE)
    try:
        session = Session(judge, known, narrow)
        if kind == "python":
            planted_in_python(session, missing)
        else:
            planted_in_builds(session, missing, mutants, kind)
        return session.results
    finally:
        judge.remove()


def again(n):
    """Plant ``n`` mutants in Python that were killed again; how many still are."""
    known = load()
    killed = [one for one in first("python") if known.get(one.key, {}).get("result") == "killed"]
    quick = sorted(killed, key=lambda one: known[one.key]["seconds"])[:n]
    judge = judging.Judge(TREE, ())
    try:
        red = 0
        for mutant in quick:
            data = (TREE / mutant.file).read_bytes()
            judge.write(mutant.file, mutant.planted(data))
            run = judge.run(stages(mutant, known)[0])
            judge.write(mutant.file, data)
            red += run.result != "green" and judge.run([run.test]).result == "green"
            print(f"{run.result} {mutant.file}:{mutant.line} {run.test}", flush=True)
        return red
    finally:
        judge.remove()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["all", "again", *SHARES])
    parser.add_argument("n", type=int, nargs="?", default=0)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--afresh", action="store_true", help="also those that are known")
    parser.add_argument("--only", nargs="*", default=(), help="keys of mutants.json")
    parser.add_argument("--narrow", action="store_true", help="leave those that need wide tests")
    asked = parser.parse_args()
    if asked.narrow:
        judging.LIMIT = 5
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # and what was made is removed
    if asked.kind == "again":
        print(again(asked.n))  # the last line
        return
    for kind in SHARES if asked.kind == "all" else [asked.kind]:
        n = asked.n if asked.kind != "all" else round(SHARES[kind] * asked.n)
        run(kind, n, asked.skip, asked.afresh, asked.only, asked.narrow)


if __name__ == "__main__":
    sys.exit(main())
