"""Whatever flags a packager builds with, setup.py's win: the compiler says which are in force."""

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[2] / "setup.py"
HOSTILE = [
    "-ffast-math", "-Ofast", "-funsafe-math-optimizations", "-ffp-contract=fast", "-O0", "-O1",
    "-frounding-math", "-ffinite-math-only", "-fno-signed-zeros", "-freciprocal-math",
    "-fassociative-math", "-ftrapping-math", "-mfma",
    "-ffast-math -march=native", "-Ofast -mfma -ffp-contract=fast -frounding-math",
]  # fmt: skip
#: What decides the value of an expression, as gcc names it.
ARITHMETIC = (
    "-fassociative-math", "-ffinite-math-only", "-ffp-contract", "-fcx-limited-range",
    "-fexcess-precision", "-ffloat-store", "-freciprocal-math", "-frounding-math",
    "-fsignaling-nans", "-fsigned-zeros", "-fsingle-precision-constant", "-ftrapping-math",
    "-funsafe-math-optimizations", "-mfpmath", "-mrecip", "-ffast-math", "-fmath-errno",
)  # fmt: skip


def flags():
    """setup.py's flags for gcc and clang."""
    names, found = {"PRECISE", "UNIX"}, {"DEBUG": False, "SANITIZE": ""}
    for node in ast.parse(SETUP.read_text()).body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        if any(getattr(target, "id", None) in names for target in targets):
            exec(compile(ast.Module([node], []), SETUP, "exec"), found)
    return found["UNIX"]


def in_force(compiler, options):
    """The state of the options that arithmetic depends on."""
    asked = [compiler, *options, "-Q", "--help=common", "--help=optimizers"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    states = [line.split() for line in told.splitlines() if line.strip().startswith("-")]
    return {words[0].rstrip("="): words[1:] for words in states if words[0].startswith(ARITHMETIC)}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_arithmetic_is_the_same_behind_any_flags(hostile):
    compiler = shutil.which("gcc")
    if compiler is None or not SETUP.exists():
        pytest.skip("needs gcc and the sources")
    said = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True)
    if "Free Software Foundation" not in said.stdout:
        pytest.skip("what is called gcc is another compiler, as on macOS")
    plain = in_force(compiler, flags())
    assert len(plain) > 8
    assert in_force(compiler, hostile.split() + flags()) == plain
