"""Faults planted in the sources by rule, one at a time, to see which tests notice them.

Every operator, comparison, number, statement and pair of arguments is a place for a fault, in all
sources but the commands that only measure (`fastreg.lab`, `fastreg.bench`). A hash of the place and
its line orders them, so that the first 300 are the same 300 until their lines change. Each is
planted in a copy of the tree, where the tests of that source (mutation_tests.json) run until the
first is red; this test must be green without the fault. What does not compile is passed over.

``python tests/reliability/mutation.py python 80`` tries the first 80 places in Python,
``… compiled 20`` the first 20 in C and Cython, and writes them to mutants.json.
"""

import ast
import dataclasses
import fcntl
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
TREE = HERE.parents[1]
FILE = HERE / "mutants.json"
LIMIT = 300  # seconds of the processor for the tests of one mutant; six times as long by the clock

#: Which tests look at a source: the longest beginning of its path counts.
TESTS = json.loads((HERE / "mutation_tests.json").read_text("utf-8"))

COMPARED = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
}
TOKENS = {
    " < ": " <= ", " <= ": " < ", " > ": " >= ", " >= ": " > ", " == ": " != ", " != ": " == ",
    " + ": " - ", " - ": " + ", " * ": " + ", " / ": " * ", " += ": " -= ", " -= ": " += ",
    " && ": " || ", " || ": " && ", " and ": " or ", " or ": " and ", "++": "--",
}  # fmt: skip
TOKEN = re.compile(
    "|".join(re.escape(token) for token in sorted(TOKENS, key=len, reverse=True))
    + r"|(?<![\w.])\d+(?![\w.])"
)
DROPPED = re.compile(
    r"\s+(?!return\b|else\b|if\b|for\b|while\b)[\w.>\-]+(\[.*\])?( [-+*|]?= |\().*"
)


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One fault: ``old`` at a place in a file, in bytes, becomes ``new``."""

    file: str
    at: int
    old: str
    new: str
    line: int
    text: str

    @property
    def key(self):
        said = f"{self.file}|{self.text}|{self.old}|{self.new}|{self.at - self.start}"
        return hashlib.sha256(said.encode()).hexdigest()[:12]

    @property
    def start(self):
        return (TREE / self.file).read_bytes().rfind(b"\n", 0, self.at)

    def plant(self, folder):
        path = folder / self.file
        data, old = path.read_bytes(), self.old.encode()
        assert data[self.at : self.at + len(old)] == old
        path.write_bytes(data[: self.at] + self.new.encode() + data[self.at + len(old) :])


class Places(ast.NodeVisitor):
    """All places for a fault in one Python source."""

    def __init__(self, file):
        self.file, self.data, self.found = file, (TREE / file).read_bytes(), []
        self.lines = self.data.split(b"\n")
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.visit(ast.parse(self.data))

    def begin(self, node):
        return self.starts[node.lineno - 1] + node.col_offset

    def end(self, node):
        return self.starts[node.end_lineno - 1] + node.end_col_offset

    def add(self, begin, end, new):
        old = self.data[begin:end].decode()
        line = self.data.count(b"\n", 0, begin) + 1
        text = self.lines[line - 1].strip().decode()
        self.found.append(Mutant(self.file, begin, old, new, line, text))

    def between(self, left, operator, right):
        old, new = COMPARED.get(type(operator), ("", ""))
        place = self.data.find(old.encode(), self.end(left), self.begin(right)) if old else -1
        if place >= 0:
            self.add(place, place + len(old), new)

    def visit_Compare(self, node):
        sides = [node.left, *node.comparators]
        for left, operator, right in zip(sides, node.ops, sides[1:], strict=False):
            self.between(left, operator, right)
        self.generic_visit(node)

    def visit_BinOp(self, node):
        self.between(node.left, node.op, node.right)
        self.generic_visit(node)

    def visit_BoolOp(self, node):
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.between(left, node.op, right)
        self.generic_visit(node)

    def visit_UnaryOp(self, node):
        if isinstance(node.op, ast.Not):
            self.add(self.begin(node), self.begin(node) + 3, "bool" if self.tight(node) else "")
        self.generic_visit(node)

    def tight(self, node):
        return self.data[self.begin(node) + 3 : self.begin(node) + 4] == b"("

    def visit_Constant(self, node):
        if isinstance(node.value, bool):
            self.add(self.begin(node), self.end(node), str(not node.value))
        elif isinstance(node.value, int | float):
            self.add(self.begin(node), self.end(node), repr(node.value + 1))

    def visit_Call(self, node):
        if len(node.args) > 1 and not any(isinstance(a, ast.Starred) for a in node.args[:2]):
            first, second = node.args[:2]
            parts = [(self.begin(a), self.end(a)) for a in (first, second)]
            (a, b), (c, d) = parts
            new = self.data[c:d] + self.data[b:c] + self.data[a:b]
            if new != self.data[a:d] and b < c:
                self.add(a, d, new.decode())
        self.generic_visit(node)

    def drop(self, node):
        self.add(self.begin(node), self.end(node), "pass")

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Call):
            self.drop(node)
            self.generic_visit(node)

    def visit_Assign(self, node):
        if not isinstance(node.targets[0], ast.Name | ast.Tuple):
            self.drop(node)
        self.generic_visit(node)

    def visit_AugAssign(self, node):
        self.drop(node)
        self.generic_visit(node)

    def visit_Raise(self, node):
        self.drop(node)  # and nothing in it: a message is not arithmetic

    def visit_AnnAssign(self, node):
        if node.value:
            self.visit(node.value)

    def visit_arg(self, node):
        """Annotations are not looked at."""

    def visit_JoinedStr(self, node):
        """Neither are messages."""

    def visit_FunctionDef(self, node):
        self.visit(node.args)
        for one in node.body:
            self.visit(one)


def in_python():
    files = [
        path
        for path in sorted((TREE / "fastreg").rglob("*.py"))
        if path.relative_to(TREE).parts[1] not in ("lab", "bench")
    ]
    return [m for path in files for m in Places(str(path.relative_to(TREE))).found]


def in_compiled():
    found = []
    for path in [*(TREE / "csrc").glob("*.[ch]"), *(TREE / "fastreg" / "_core").glob("*.p*x*")]:
        cython, at, quoted = path.suffix != ".c" and path.suffix != ".h", 0, False
        for number, line in enumerate(path.read_text("utf-8").split("\n"), 1):
            code = re.sub(r'"[^"]*"', lambda s: "_" * len(s[0]), line)
            marks = ('"""',) if cython else ("/*", "*/")
            if any(mark in line for mark in marks) or quoted:
                # a comment of several lines, or one line of it
                ends = line.count('"""') if cython else 2 * ("/*" in line) + ("*/" in line)
                quoted = quoted ^ (ends % 2 == 1) if cython else "*/" not in line
            elif not re.match(r"\s*(#|cdef|ctypedef|@|raise|from|import|enum|typedef|//)", line):
                code = re.split(r"//|#", code)[0]
                spots = [(t.start(), t[0], changed(t[0])) for t in TOKEN.finditer(code)]
                if DROPPED.fullmatch(code) and (cython or code.endswith(";")):
                    body = line.strip()
                    if not cython or balanced(body):
                        spots.append((line.index(body), body, "pass" if cython else ";"))
                for start, old, new in spots:
                    place = at + len(line[:start].encode())
                    file = str(path.relative_to(TREE))
                    found.append(Mutant(file, place, old, new, number, line.strip()))
            at += len(line.encode()) + 1
    return found


def changed(token):
    return TOKENS.get(token) or str(int(token) + 1)


def balanced(text):
    return all(text.count(a) == text.count(b) for a, b in ("()", "[]")) and text[-1] not in ",(\\"


def first(kind):
    """The mutants of a kind, in the order of their keys."""
    found = in_python() if kind == "python" else in_compiled()
    return [mutant for _, mutant in sorted({m.key: m for m in found}.items())]


def tests_of(file):
    return TESTS[max((name for name in TESTS if file.startswith(name)), key=len)]


class Copy:
    """A copy of the tree, with one mutant at a time."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="fastreg-")) / "tree"
        ignored = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", ".hypothesis")
        shutil.copytree(TREE, self.folder, ignore=ignored, symlinks=True)
        self.green = {}

    def remove(self):
        shutil.rmtree(self.folder.parent)

    def pytest(self, *tests):
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=no"]
            + [*tests],
            cwd=self.folder, capture_output=True, text=True, timeout=6 * LIMIT,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT)),
            env={**os.environ, "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip

    def build(self):
        done = subprocess.run(
            [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
            cwd=self.folder, capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        return done.returncode == 0

    def try_one(self, mutant):
        """``(result, the test that noticed)``; None if the mutant does not compile."""
        path, compiled = self.folder / mutant.file, not mutant.file.endswith(".py")
        before = path.read_bytes()
        mutant.plant(self.folder)
        try:
            if compiled and not self.build():
                return None, ""
            done = self.pytest(*tests_of(mutant.file))
        except subprocess.TimeoutExpired:
            return "hung", ""
        finally:
            path.write_bytes(before)
        if done.returncode == 0:
            return "lived", ""
        if -done.returncode in (signal.SIGKILL, signal.SIGXCPU):
            return "hung", ""
        if done.returncode < 0:
            return "killed", f"signal {-done.returncode}"
        found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
        if not found:
            if "rror" in done.stderr + done.stdout:
                return "killed", "nothing can be imported"
            raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
        return "killed", found[1]

    def is_green(self, test):
        """Whether a test that noticed a mutant holds without it."""
        if "::" not in test:
            return True
        if test not in self.green:
            self.green[test] = self.pytest(test).returncode == 0
        return self.green[test]


def load():
    return json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}


def record(mutant, result, test, seconds):
    with open(__file__, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = load()
        why = known.get(mutant.key, {}).get("why", "")
        known[mutant.key] = {
            "file": mutant.file, "line": mutant.line, "text": mutant.text, "old": mutant.old,
            "new": mutant.new, "result": result, "test": test, "seconds": round(seconds, 1),
            **({"why": why} if why else {}),
        }  # fmt: skip
        FILE.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", "utf-8")


def run(kind, n, again=False, skip=0):
    """Try the first ``n`` mutants of a kind; what is known already only if ``again``."""
    copy, done = Copy(), []
    compiled = kind != "python"
    known = {} if again else load()
    try:
        for mutant in first(kind)[skip:]:
            if len(done) == n:
                break
            if mutant.key in known:
                done.append(known[mutant.key])
                continue
            began = time.time()
            result, test = copy.try_one(mutant)
            if result is None:
                continue
            if compiled and test:
                copy.build()
            if not copy.is_green(test):
                print(f"{test} is red without a mutant", flush=True)
                continue
            record(mutant, result, test, time.time() - began)
            done.append({"result": result})
            said = f"{mutant.file}:{mutant.line}: {mutant.old!r} -> {mutant.new!r}"
            print(f"{result} {said} {test} {time.time() - began:.1f} s", flush=True)
    finally:
        copy.remove()
    return done


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), skip=int(sys.argv[3]) if len(sys.argv) > 3 else 0)
