"""N-07c and N-07d: one hash per family of kernels, whichever compiler and processor made them."""

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


def told_by(compiler, *flags, edits=(), emulator=()):
    """The lines of a program of the kernels: a hash per family and type."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drivers, "EDITS", [*drivers.EDITS, *edits])
        program = build("bits_driver.c", *flags, compiler=compiler)
    try:
        return run(program, *emulator, finding="differs at").splitlines()
    finally:
        remove(program)


def compared(found, who, expected, first):
    for one, other in zip(found, expected, strict=True):
        if one != other:
            raise Broken(f"{who}: {one}, and {first}: {other}")
    return len(found)


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
    """Two builds at least, and of two the baseline alone.

    The levels of one build are compared by the program."""
    edits = [BASE_ALONE] if n <= SHORT else []
    told = [(pair, told_by(*pair, edits=edits)) for pair in BUILDS[: max(n, SHORT)]]
    (first, expected), *others = told
    return sum(compared(lines, pair, expected, first) for pair, lines in others)


ARM, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
#: One unit in the last place of a sum, on the other processor.
by_processor = edited(
    (
        "csrc/penalty_tmpl.h",
        "    return fabs((double)x);",
        "#ifdef __aarch64__\n    return fabs((double)x) * (1.0 + 0x1p-52);\n#endif\n"
        "    return fabs((double)x);",
    )
)
by_processor.__name__ = "by_processor"


@row(
    "N-07d",
    "kernels for arm64, which an emulator runs, have the hashes of those for x86-64",
    "hashes",
    full=3,
    planted=1,
    faults=(by_processor,),
    slow=True,
    needs=lambda: (
        "" if shutil.which(ARM) and shutil.which(EMULATOR) else f"needs {ARM}, {EMULATOR}"
    ),
)
def one_hash_of_processors(n):
    """n builds, each of which is run; the program is linked statically, and needs no other file."""
    expected = told_by("gcc", "-O3", edits=[BASE_ALONE])
    return sum(
        compared(told_by(ARM, "-O3", "-static", emulator=[EMULATOR]), ARM, expected, "gcc")
        for _ in range(n)
    )
