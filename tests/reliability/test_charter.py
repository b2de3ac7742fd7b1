"""The charter: every row is there, its short form holds, and each of its faults is noticed."""

import os
import re
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
if not (TREE / "csrc").exists():
    pytest.skip("the charter looks at the sources", allow_module_level=True)

import charter  # noqa: E402
import results  # noqa: E402
from rows import ROWS  # noqa: E402

WHOLE = os.environ.get("FASTREG_RELIABILITY") == "1"  # `make reliability` runs the long ones too
PROMISES = {"N": 11, "D": 6, "M": 10, "F": 7, "C": 11, "S": 7}  # of each family, by number
SHORT = [row for row in ROWS.values() if row.short]
FAULTS = [
    pytest.param(row, fault, id=f"{row.id}-{fault.__name__}")
    for row in ROWS.values()
    for fault in row.faults
    if WHOLE or not row.slow
]


def here(row):
    missing = row.needs()
    if missing:
        pytest.skip(missing)


@pytest.mark.parametrize("row", SHORT, ids=lambda row: row.id)
def test_short_forms_hold(row):
    here(row)
    assert row.check(row.short) > 0


@pytest.mark.parametrize(("row", "fault"), FAULTS)
def test_planted_faults_are_noticed(row, fault):
    here(row)
    assert charter.is_noticed(row, fault), f"{row.id} is green with {fault.__name__}"


def test_no_promise_is_left_out():
    asked = {f"{family}-{k + 1:02}" for family, n in PROMISES.items() for k in range(n)}
    assert sorted(asked - set(ROWS)) == []


def test_every_row_has_a_fault_or_says_why_it_is_not_run():
    assert not [row.id for row in ROWS.values() if "|" in row.promise + row.why_not]  # a table
    bare = [row.id for row in ROWS.values() if not row.faults and not row.why_not]
    assert not bare


def test_short_forms_that_the_suite_has_are_there():
    for row in ROWS.values():
        for test in row.tests:
            path, _, name = test.partition("::")
            assert (TREE / path).exists(), test
            if name:
                text = (TREE / path).read_text("utf-8")
                assert re.search(rf"^def {name}\(", text, re.MULTILINE), test


def test_the_page_is_what_the_results_make():
    page = (TREE / "docs" / "reliability.md").read_text("utf-8")
    assert page == results.page(ROWS), "python tests/reliability --page"
