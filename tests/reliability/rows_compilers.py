"""N-07c: one hash per family of kernels, whichever compiler made them."""

import shutil

import drivers
import pytest
from charter import Broken, row
from drivers import CLANG, build, edited, remove, run

BUILDS = (("gcc", "-O1"), (CLANG, "-O1"), (CLANG, "-O3"), ("gcc", "-O3"))
SHORT = 2  # builds, of the baseline alone, which are compiled in seconds
BASE_ALONE = ("csrc/fastreg.h", "#define FR_X86_LEVELS 1\n", "")

#: One unit in the last place of a sum, by one compiler.
by_compiler = edited(
    (
        "csrc/penalty_tmpl.h",
        "    return fabs((double)x);",
        "#ifdef __clang__\n    return fabs((double)x) * (1.0 + 0x1p-52);\n#endif\n"
        "    return fabs((double)x);",
    )
)
by_compiler.__name__ = "by_compiler"


def needs():
    return "" if CLANG and shutil.which("gcc") else "needs gcc and clang"


def told_by(compiler, level, edits):
    """The lines of a program of the kernels: a hash per family and type."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drivers, "EDITS", [*drivers.EDITS, *edits])
        program = build("bits_driver.c", level, compiler=compiler)
    try:
        return run(program).splitlines()
    finally:
        remove(program)


@row(
    "N-07c",
    "gcc and clang, with -O1 and with -O3, make kernels of the same hashes, at every level of the CPU",
    "hashes",
    full=len(BUILDS),
    short=SHORT,
    faults=(by_compiler,),
    slow=True,
    needs=needs,
)
def one_hash_of_compilers(n):
    """With two builds the baseline alone; the levels of one build are compared by the program."""
    told = [
        told_by(compiler, level, [BASE_ALONE] if n <= SHORT else [])
        for compiler, level in BUILDS[:n]
    ]
    for (compiler, level), lines in zip(BUILDS, told, strict=False):
        for one, first in zip(lines, told[0], strict=True):
            if one != first:
                raise Broken(f"{compiler} {level}: {one}, and {BUILDS[0]}: {first}")
    return sum(map(len, told))
