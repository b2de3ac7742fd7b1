"""N-07c and N-07d: one hash per family of kernels, whichever compiler and processor made them.

They are kept in tests/golden/kernels.txt. ``python tests/reliability/rows_compilers.py`` writes it
anew, which is right only when a formula or the driver changes on purpose.
"""

import itertools
import shutil

import drivers
import pytest
from charter import TREE, Broken, row
from drivers import CLANG, build, edited, remove, run

KEPT = TREE / "tests" / "golden" / "kernels.txt"
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
#: The same by all of them, which hashes of one day cannot show.
by_all = edited(
    (
        "csrc/penalty_tmpl.h",
        "    return fabs((double)x);",
        "    return fabs((double)x) * (1.0 + 0x1p-52);",
    )
)
by_compiler.__name__, by_all.__name__ = "by_compiler", "by_all"


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


def compared(found, who):
    expected = KEPT.read_text("utf-8").splitlines()
    for one, kept in itertools.zip_longest(found, expected):
        if one != kept:
            raise Broken(f"{who}: {one}, and {KEPT.name} has {kept}")
    return len(found)


@row(
    "N-07c",
    "gcc and clang, with -O1 and with -O3, make kernels of the hashes that are kept (tests/golden/kernels.txt), at every level of the CPU",
    "hashes",
    full=len(BUILDS),
    short=SHORT,
    faults=(by_compiler, by_all),
    slow=True,
    needs=needs,
)
def one_hash_of_compilers(n):
    """The builds of the short form are of the baseline alone. The program compares the levels."""
    edits = [BASE_ALONE] if n <= SHORT else []
    return sum(compared(told_by(*pair, edits=edits), pair) for pair in BUILDS[:n])


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
    "kernels for arm64, which an emulator runs, have the hashes that are kept",
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
    return sum(compared(told_by(ARM, "-O3", "-static", emulator=[EMULATOR]), ARM) for _ in range(n))


if __name__ == "__main__":
    KEPT.write_text("\n".join(told_by("gcc", "-O3")) + "\n", "utf-8")
