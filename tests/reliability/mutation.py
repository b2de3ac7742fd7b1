"""Faults planted in the sources by rule, one at a time, to see which tests notice them.

Every operator, comparison, number, statement and pair of arguments is a place for a fault, in all
sources but the commands that only measure (`fastreg.lab`, `fastreg.bench`). A hash of the place and
its line orders those of a file, and files take turns, so that the first 300 are spread over all
files, and are the same 300 until their lines change. What does not compile is passed over.

`verdicts` judges them: it plants each in a copy of the tree and runs the tests of that source
(mutation_tests.json) until the first is red.
"""

import ast
import collections
import dataclasses
import hashlib
import re
from pathlib import Path

HERE = Path(__file__).parent
TREE = HERE.parents[1]
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

    def planted(self, data):
        """The file's bytes with the fault."""
        old = self.old.encode()
        assert data[self.at : self.at + len(old)] == old
        return data[: self.at] + self.new.encode() + data[self.at + len(old) :]


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

    def visit_If(self, node):
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []  # never run
        self.generic_visit(node)

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
    """The mutants of a kind: one of each file, then a second of each, by a hash of the place."""
    found = in_python() if kind == "python" else in_compiled()
    if kind != "python":
        found = [one for one in found if one.file.startswith("csrc/") == (kind == "c")]
    ranks = collections.Counter()
    ordered = []
    for key, mutant in sorted({one.key: one for one in found}.items()):
        ordered.append((ranks[mutant.file], key, mutant))
        ranks[mutant.file] += 1
    return [mutant for _, _, mutant in sorted(ordered, key=lambda one: one[:2])]
