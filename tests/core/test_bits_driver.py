"""The program that runs the kernels without Python calls every entry of their table."""

import pathlib
import re

import pytest

TREE = pathlib.Path(__file__).parents[2]
HEADER = (TREE / "csrc" / "fastreg.h").read_text("utf-8")
SOURCES = sorted((TREE / "tests" / "core").glob("bits_*.[ch]"))
DRIVER = "".join(re.sub(r"/\*.*?\*/", "", path.read_text("utf-8"), flags=re.S) for path in SOURCES)


def entries(header):
    """The names of the table's members: arrays of kernels, and those of the list FR_KERNELS."""
    listed = re.search(r"#define FR_KERNELS\(K\)(.*?)\n\n", header, re.S)[1]
    table = re.search(r"typedef struct \{\n([^}]*)\} fr_kernels;", header)[1]
    return re.findall(r"K\(\w+, (\w+)\)", listed) + re.findall(r"fr_\w+ (\w+)\[", table)


def uncalled(header, driver):
    return [name for name in entries(header) if not re.search(rf"\bk->{name}\b", driver)]


def test_every_entry_of_the_table_is_called():
    assert uncalled(HEADER, DRIVER) == []


def test_the_table_has_no_member_that_is_not_looked_for():
    """Its size says how many there are."""
    table = re.search(r"typedef struct \{\n([^}]*)\} fr_kernels;", HEADER)[1]
    table = re.sub(r"/\*.*?\*/", "", table, flags=re.S)
    members = re.findall(r";", table)
    listed = HEADER.count("\n    K(")
    assert len(entries(HEADER)) == len(members) + listed


@pytest.mark.parametrize("old", ["    K(fr_softmax, softmax)", "    fr_sum sum[FR_SUM_COUNT];"])
def test_an_entry_without_a_call_is_noticed(old):
    assert HEADER.count(old) == 1
    new = old.replace("softmax)", "other)").replace("sum[", "other[")
    assert uncalled(HEADER.replace(old, new), DRIVER) == ["other"]


def test_every_family_is_run():
    """A function of a family, which takes the kernels and a length, is in the list of main."""
    families = re.findall(r"^static void (\w+)\(const fr_kernels \*k, ptrdiff_t n\)$", DRIVER, re.M)
    run = re.findall(r'\{"[\w ]+",\s+(\w+),', DRIVER)
    assert len(run) >= 13 and sorted(families) == sorted(run)
