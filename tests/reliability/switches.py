"""Many faults in one build: each stands beside what it replaces, behind a number.

An expression E with the fault E' becomes ``(fr_mutant == 7 ? (E') : (E))`` in C, and
``((E') if fr_mutant == 7 else (E))`` in Cython; FASTREG_MUTANT=7 in the environment turns the
seventh on. E is the longest piece around the fault that has no comma, assignment or condition of
its own, so the parentheses change nothing. Lines keep their numbers, and a place that cannot be
chosen at run time (the size of an array, an enum) is known by the compiler's error.
"""

import dataclasses
import re

HEADER = """\
extern char *getenv(const char *);
extern int atoi(const char *);
static int fr_mutant;
__attribute__((constructor, used)) static void fr_mutant_read(void) {
    const char *given = getenv("FASTREG_MUTANT");
    fr_mutant = given ? atoi(given) : 0;
}
"""
DECLARED = "\ncdef extern from *:\n    int fr_mutant\n"  # the end of a .pxd
QUOTED = {
    False: re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL),
    True: re.compile(
        r'""".*?"""|#[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL
    ),
}  # fmt: skip
BEGIN = {
    False: re.compile(r"\b(?:return|case|else|do)$"),
    True: re.compile(
        r"\b(?:if|elif|else|while|for|return|assert|with|as|yield|for (?:(?! in | if )[^:])* in)$"
    ),
}
END = re.compile(r"(?:if|else|for|as)\b")  # Cython's alone
HEAD = re.compile(r"\s*(?:else\s+)?(?:if|while|for|switch)\s*(?=\()")  # `if (…) i++`


@dataclasses.dataclass(frozen=True)
class Choice:
    """The piece from ``begin`` to ``end``: as it is, between ``before`` and ``after``."""

    begin: int
    end: int
    before: str
    after: str


def masked(text, cython):
    """The text without what quotes and comments say, and without lines that do not end."""

    def blank(found):
        return re.sub(r"[^\n]", "_" if found[0][0] in "\"'" else " ", found[0])

    text = QUOTED[cython].sub(blank, text)
    if not cython:
        lines = text.split("\n")
        lines = [";" * len(one) if one.lstrip()[:1] == "#" else one for one in lines]
        return re.sub(r"\\(?=\n)", " ", "\n".join(lines))
    depth, out = 0, []
    for c in text:
        depth += (c in "([{") - (c in ")]}")
        out.append(" " if c == "\n" and depth > 0 else c)
    return "".join(out)


def assigns(text, at):
    return text[at] == "=" and text[at - 1] not in "=!<>" and text[at + 1] != "="


def around(text, begin, end, cython, stop=True):
    """The piece around a token; one that assigns, without ``stop``."""
    ends, depth = ",;{}?:\n" if cython else ",;{}?:", 0
    while begin:
        c = text[begin - 1]
        if c in "([" and not depth or c in ends and not depth:
            break
        depth += (c in ")]") - (c in "([")
        here = not depth and not text[begin].isidentifier()
        if not depth and stop and assigns(text, begin - 1):
            break
        if here and BEGIN[cython].search(text[max(0, begin - 60) : begin]):
            break
        begin -= 1
    ends = ends if stop or cython else ",;{}"  # what is added may have a condition of its own
    while end < len(text):
        c = text[end]
        if c in ")]" and not depth or c in ends and not depth:
            break
        if not depth and stop and (assigns(text, end) or text[end : end + 2] in ("+=", "-=")):
            break
        apart = cython and not depth and not text[end - 1].isidentifier()
        if apart and END.match(text, end):
            break
        depth += (c in "([") - (c in ")]")
        end += 1
    head = None if cython else HEAD.match(text, begin, end)
    if head:
        depth, begin = 1, head.end() + 1
        while depth:
            depth += (text[begin] == "(") - (text[begin] == ")")
            begin += 1
    piece = text[begin:end]
    return begin + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())


def choice(text, mask, mutant, number, cython):
    """How a mutant stands in its text."""
    at = len(text.encode()[: mutant.at].decode())
    end = at + len(mutant.old)
    if mutant.new in (";", "pass"):
        if cython:
            return Choice(at, end, f"if fr_mutant != {number}: ", "")
        return Choice(at, end - 1, f"(void)(fr_mutant == {number} ? (void)0 : (void)(", "))")
    sums = mutant.old in (" += ", " -= ")
    if sums and cython:
        begin, end = around(mask, end, end, True)
        piece = text[begin:end]
        return Choice(begin, end, f"(-({piece}) if fr_mutant == {number} else (", "))")
    begin, last = around(mask, at, end, cython, stop=not sums)
    changed = text[begin:at] + mutant.new + text[end:last]
    if cython:
        changed = changed.replace("\n", " ")  # in brackets, or it would have ended there
        return Choice(begin, last, f"(({changed}) if fr_mutant == {number} else (", "))")
    changed = re.sub(r"\\?\n", " ", changed)
    return Choice(begin, last, f"(fr_mutant == {number} ? ({changed}) : (", "))")


def switched(text, mutants, cython):
    """The text with its mutants, a dictionary from numbers."""
    mask = masked(text, cython)
    found = [choice(text, mask, one, k, cython) for k, one in mutants.items()]
    found.sort(key=lambda one: (one.begin, -one.end))
    out, at, open_ = [], 0, []
    for one in [*found, None]:
        while open_ and (one is None or open_[-1].end <= one.begin):
            out += [text[at : open_[-1].end], open_[-1].after]
            at = open_.pop().end
        if one:
            assert not open_ or one.end <= open_[-1].end, (one, open_[-1])
            out += [text[at : one.begin], one.before]
            at = one.begin
            open_.append(one)
    return "".join([*out, text[at:]])
