"""Programs of C made of the kernels, with a fault in them if one is planted."""

import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from charter import TREE, Broken

#: What is changed in the sources before they are compiled: (file, from, to).
EDITS = []
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
CLANG = shutil.which("clang") or shutil.which("clang-14")


def edited(*edits):
    """A fault that changes the sources: (file, from, to) each."""

    def fault(patch):
        patch.setattr("drivers.EDITS", list(edits))

    return fault


def build(driver, *flags, compiler, kernels=True):
    """Compile a driver and the kernels into a program in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="fastreg-"))
    shutil.copytree(TREE / "csrc", folder / "csrc")
    (folder / "tests" / "core").mkdir(parents=True)
    for source in (TREE / "tests" / "core").glob("*.[ch]"):  # the driver, and what it includes
        shutil.copy(source, folder / "tests" / "core" / source.name)
    for name, old, new in EDITS:
        text = (folder / name).read_text("utf-8")
        assert text.count(old) == 1, f"{name} has {text.count(old)} times {old!r}"
        (folder / name).write_text(text.replace(old, new), "utf-8")
    sources = sorted((folder / "csrc").glob("*.c")) if kernels else []
    sources.append(folder / "tests" / "core" / driver)
    command = [compiler, *FLAGS, *flags, "-I", str(folder / "csrc")]

    def compiled(source):
        target = source.with_suffix(".o")
        done = subprocess.run(
            [*command, "-c", source, "-o", target], capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return str(target)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, sources))
    program = folder / "driver"
    linked = [compiler, *flags, *objects, "-o", program, "-lm", "-pthread"]
    done = subprocess.run(linked, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return program


def run(program, *emulator, finding, **environment):
    """What a program prints; it must end well. If it does not, and says `finding`, the promise is
    broken; any other bad end is an error of the check."""
    done = subprocess.run(
        [*emulator, program], capture_output=True, text=True, timeout=3600,
        env={**os.environ, **environment},
    )  # fmt: skip
    if done.returncode:
        said = done.stdout + done.stderr
        kind = Broken if finding in said else RuntimeError
        raise kind(f"{program.name}: {done.returncode}\n{said[-3000:]}")
    return done.stdout


def remove(program):
    shutil.rmtree(program.parent)
