"""The files of the Cython side: each says which names of the others it uses."""

import pathlib
import re

import pytest

import fastreg

FILES = sorted(pathlib.Path(fastreg.__file__).parent.glob("_core/*.pxi"))
TEXTS = {path.stem: path.read_text("utf-8") for path in FILES}
KEYWORDS = ["and", "cdef", "class", "const", "elif", "else", "except", "for", "if", "in", "is"]
KEYWORDS += ["not", "or", "raise", "return", "yield"]


def code(text):
    """A file without comments and strings, but with what f-strings compute."""

    def kept(match):
        string = match.group()
        return " ".join(re.findall(r"\{([^{}]*)\}", string)) if string[0] == "f" else '""'

    text = re.sub(r'"""(?:.|\n)*?"""|f?"(?:[^"\\\n]|\\.)*"', kept, text)
    return re.sub("#.*", "", text)


def defined(text):
    """The names that a file defines: functions, classes, structs, constants and variables."""
    names = set(re.findall(r"^(?:cdef|cpdef|def) [^=\n(]*?(\w+)\(", text, re.M))
    names.update(re.findall(r"^cdef (?:class|struct) (\w+)", text, re.M))
    names.update(re.findall(r"^(\w+) = ", text, re.M))
    for block in re.findall(r"^cdef (?:enum|extern.*):\n((?:    .*\n|\n)+)", text, re.M):
        names.update(re.findall(r"^    ctypedef struct (\w+)", block, re.M))
        for line in re.findall(r"^    (?!ctypedef|    )(.*)", block, re.M):  # no structs' members
            line = re.sub(r"\(.*|=.*| (?:noexcept|nogil)\b", "", line)
            names.update(re.findall(r"(\w+) *(?:,|$)", line))
    for line in re.findall(r"^cdef (?!class|struct|enum|extern)(.*)", text, re.M):
        if "(" not in line.split("=")[0]:
            names.update(re.findall(r"(\w+)(?:\[\w+\])?(?= = |,|$)", line))
    return names


def local(text):
    """The names of parameters, local variables, members and methods."""
    names = set(re.findall(r"\bcdef \w+ ?(\w+)\(", text)) | set(re.findall(r"cdef (\w+)\(", text))
    names |= {n for word, n in re.findall(r"(\w+) [*&]?(\w+)\b", text) if word not in KEYWORDS}
    for line in re.findall(r"^ +(?:cdef )?(?:const )?\w+ [*]?\w+(?:, .*)+", text, re.M):
        names.update(re.findall(r", (\w+)", line))
    for targets in re.findall(r"^ +(?:for )?(\w+(?:, [*]?\w+)*) (?:=|in) ", text, re.M):
        names.update(re.findall(r"\w+", targets))
    names.update(re.findall(r", (\w+) = ", text))
    return names


CODE = {name: code(text) for name, text in TEXTS.items()}
DEFINED = {name: defined(text) for name, text in CODE.items()}


def taken(name):
    """What a file uses of the others, by file."""
    text, own = CODE[name], DEFINED[name]
    words = set(re.findall(r"(?<![\w.])[A-Za-z_]\w*(?! *=[^=])\b", text))
    called = set(re.findall(r"(?<![\w.])(?<!cdef )(\w+)\(", text))
    used = (words - local(text)) | called
    found = {other: (used & DEFINED[other]) - own for other in DEFINED if other != name}
    return {other: names for other, names in found.items() if names}


def announced(name):
    """What the comment at a file's head says that it takes: "From _a: x, y; _b: z."."""
    head = re.match(r"(?:#.*\n)+", TEXTS[name]).group()
    listed = re.search(r"^# From ((?:.|\n# )*?)\.$", head, re.M)
    parts = re.sub(r"\s*\n# ", " ", listed.group(1)).split("; ") if listed else []
    return {part.split(": ")[0]: set(part.split(": ")[1].split(", ")) for part in parts}


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_says_at_its_head_which_names_of_other_files_it_uses(name):
    assert announced(name) == taken(name)


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_is_one_topic(name):
    assert len(TEXTS[name].splitlines()) <= 400
