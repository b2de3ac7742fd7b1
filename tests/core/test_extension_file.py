"""What the extension shows to the loader: one function, no folder of its builder, nothing lazy."""

import re
import shutil
import subprocess
import sys

import pytest

from fastreg._core import _kernels


def told(*options):
    """What readelf says of the extension."""
    if not shutil.which("readelf") or sys.platform != "linux":
        pytest.skip("needs Linux and readelf")
    asked = ["readelf", "--wide", *options, _kernels.__file__]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout


def test_the_only_exported_symbol_is_that_of_the_module():
    lines = [line.split() for line in told("--dyn-syms").splitlines()]
    symbols = [words for words in lines if len(words) > 7 and words[0][0].isdigit()]
    own = [words[7] for words in symbols if words[4] != "LOCAL" and words[6] != "UND"]
    assert own == ["PyInit__kernels"]


def test_the_dynamic_section_is_bound_at_once_and_names_no_folder():
    dynamic = told("--dynamic")
    assert "BIND_NOW" in dynamic
    assert not re.search("RPATH|RUNPATH|TEXTREL", dynamic)
    needed = re.findall(r"NEEDED\).*\[(.+)\]", dynamic)
    assert needed
    known = r"(lib(c(\.musl-\w+)?|m|gcc_s|pthread|clang_rt\..*|u?asan|ubsan)|ld-.*)\.so"
    assert all(re.match(known, name) for name in needed), needed


def test_relocations_are_read_only_and_the_stack_does_not_run():
    segments = {line.split()[0]: line for line in told("--segments").splitlines() if line.split()}
    assert "GNU_RELRO" in segments
    assert re.search(r"\bRW\s", segments["GNU_STACK"])


def test_a_written_over_stack_is_noticed():
    assert "__stack_chk_fail" in told("--dyn-syms")
