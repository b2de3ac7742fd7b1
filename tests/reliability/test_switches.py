"""Faults behind numbers: what stands in the place of an expression or a statement."""

import pytest
import switches
from mutation import Mutant

C = [
    ("    x = a + b * c;", "+", "-", "    x = (fr_mutant == 1 ? (a - b * c) : (a + b * c));"),
    ("f(a, n + 1, b);", "1", "2", "f(a, (fr_mutant == 1 ? (n + 2) : (n + 1)), b);"),
    ("for (i = 0; i < n; i++) {", " < ", " <= ",
     "for (i = 0; (fr_mutant == 1 ? (i <= n) : (i < n)); i++) {"),
    ("if (a && !b) i++;", "++", "--", "if (a && !b) (fr_mutant == 1 ? (i--) : (i++));"),
    ("s[i + 1] += x;", " += ", " -= ", "(fr_mutant == 1 ? (s[i + 1] -= x) : (s[i + 1] += x));"),
    ("s += a ? b : c;", " += ", " -= ",
     "(fr_mutant == 1 ? (s -= a ? b : c) : (s += a ? b : c));"),
    ("return a ? b - 1 : c;", " - ", " + ",
     "return a ? (fr_mutant == 1 ? (b + 1) : (b - 1)) : c;"),
    ("f(a);", "f(a);", ";", "(void)(fr_mutant == 1 ? (void)0 : (void)(f(a)));"),
]  # fmt: skip
CYTHON = [
    ("    if n > 0 and k == 1:", " == ", " != ",
     "    if ((n > 0 and k != 1) if fr_mutant == 1 else (n > 0 and k == 1)):"),
    ("for i in range(n - 1):", "1", "2",
     "for i in range(((n - 2) if fr_mutant == 1 else (n - 1))):"),
    ("    total += a * b", " += ", " -= ", 
     "    total += (-(a * b) if fr_mutant == 1 else (a * b))"),
    ("    self.n = n", "self.n = n", "pass", "    if fr_mutant != 1: self.n = n"),
    ("if a is None and n[i] not in g:", "and", "or",
     "if ((a is None or n[i] not in g) if fr_mutant == 1 else (a is None and n[i] not in g)):"),
    ("[k for k in n if k - 1 in b]", "1", "2",
     "[k for k in n if ((k - 2 in b) if fr_mutant == 1 else (k - 1 in b))]"),
    ("    for k in n + 1:", "1", "2", "    for k in ((n + 2) if fr_mutant == 1 else (n + 1)):"),
    ("x = a if b < c else d", " < ", " <= ",
     "x = a if ((b <= c) if fr_mutant == 1 else (b < c)) else d"),
]  # fmt: skip


def mutant(text, old, new):
    return Mutant("csrc/some.h", len(text[: text.rindex(old)].encode()), old, new, 1, text)


@pytest.mark.parametrize(("text", "old", "new", "expected"), C)
def test_c(text, old, new, expected):
    assert switches.switched(text, {1: mutant(text, old, new)}, False) == expected


@pytest.mark.parametrize(("text", "old", "new", "expected"), CYTHON)
def test_cython(text, old, new, expected):
    assert switches.switched(text, {1: mutant(text, old, new)}, True) == expected


def test_several_in_one_expression():
    text = "x = f(a + 1) * 2;"
    faults = {3: mutant(text, "1", "2"), 5: mutant(text, " * ", " + ")}
    inner = "(fr_mutant == 3 ? (a + 2) : (a + 1))"
    expected = f"x = (fr_mutant == 5 ? (f(a + 1) + 2) : (f({inner}) * 2));"
    assert switches.switched(text, faults, False) == expected


def test_comments_and_quotes_end_nothing():
    text = 'x = g("(,", /* ; */ a + 1);'
    expected = 'x = g("(,", /* ; */ (fr_mutant == 1 ? (a - 1) : (a + 1)));'
    assert switches.switched(text, {1: mutant(text, "+", "-")}, False) == expected
