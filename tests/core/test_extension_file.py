"""What the extension shows to the loader: one function, no folder of its builder, nothing lazy."""

import platform
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


def test_nothing_of_ours_runs_when_it_is_loaded():
    """What -ffast-math links in would set the mode of floating point of a whole process there."""
    symbols = [line.split() for line in told("--syms").splitlines()]
    names = {int(words[1], 16): words[7] for words in symbols if words[3:4] == ["FUNC"]}
    if platform.machine() != "x86_64" or "frame_dummy" not in names.values():
        pytest.skip("needs x86-64 and the symbols")
    sections = told("--sections")
    begin, size = re.search(r" \.init_array +INIT_ARRAY +(\w+) \w+ (\w+)", sections).groups()
    inside = range(int(begin, 16), int(begin, 16) + int(size, 16))
    run = [
        names[int(words[-1], 16)]
        for words in map(str.split, told("--relocs").splitlines())
        if words and words[0].isalnum() and words[0] != "Offset" and len(words[0]) == 16
        and int(words[0], 16) in inside
    ]  # fmt: skip
    assert run
    assert set(run) <= {"frame_dummy", "__cpu_indicator_init"}  # of gcc's own


def test_a_written_over_stack_is_noticed():
    assert "__stack_chk_fail" in told("--dyn-syms")
