"""Builds of the extension with faults in C and Cython: quick ones, and as few as there can be.

Everything is compiled at -O1, and the seam, which only calls kernels, at -O0: bits of results do
not depend on it. An object whose preprocessed source was seen before is not compiled again.
"""

import ctypes
import hashlib
import os
import re
import subprocess
import sys
import sysconfig
from collections import Counter

import numpy
import switches

FLAGS = "-std=c11 -fPIC -fvisibility=hidden -fstack-protector-strong "
FLAGS += "-fno-math-errno -fno-trapping-math -ffp-contract=off"
CYTHON = {
    "boundscheck": False, "initializedcheck": False, "auto_pickle": False, "cdivision": True,
    "freethreading_compatible": True, "emit_code_comments": False,
}  # fmt: skip
SEAM = "fastreg/_core/_kernels"
OUTPUT = SEAM + sysconfig.get_config_var("EXT_SUFFIX")
WRONG = re.compile(r"^(?:In file included.*?)?((?:csrc|fastreg)/[\w./]+):(\d+):\d+: (?!warn|note)")


def turn_on(number):
    """Turn on a mutant of the extension that is loaded: each object has its own `fr_mutant`."""
    os.environ["FASTREG_MUTANT"] = str(number)  # for processes that tests start
    path = sys.modules["fastreg._core._kernels"].__file__
    symbols = [line.split() for line in subprocess.getoutput(f"nm {path}").splitlines()]
    place = {name: int(at, 16) for at, *_, name in symbols if name == "PyInit__kernels"}
    entry = ctypes.cast(ctypes.PyDLL(path).PyInit__kernels, ctypes.c_void_p).value
    for at, *_, name in symbols:
        if name == "fr_mutant":
            where = entry - place["PyInit__kernels"] + int(at, 16)
            ctypes.c_int.from_address(where).value = number


class NotBuilt(Exception):  # noqa: N818
    """The compiler or Cython refuses; the places of their errors, as (file, line)."""

    def __init__(self, said):
        super().__init__(said[-3000:])
        found = (WRONG.match(one) for one in said.splitlines())
        self.places = {(one[1], int(one[2])) for one in found if one}


class Builds:
    """Copies of the sources, and what was compiled from them."""

    def __init__(self, tree, folder):
        self.tree, self.folder, self.objects = tree, folder, folder.parent / "objects"
        folder.mkdir(parents=True, exist_ok=True)
        self.objects.mkdir(exist_ok=True)
        (folder / "fr_mutant.h").write_text(switches.HEADER)
        self.files = {
            str(path.relative_to(tree)): path.read_text("utf-8")
            for path in [*(tree / "csrc").glob("*.[ch]"), *(tree / SEAM).parent.glob("*.p[xy]*")]
            + [tree / "fastreg" / "_core" / "__init__.py", tree / "fastreg" / "__init__.py"]
        }
        for name in self.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        self.put({})

    def put(self, changed):
        """Write the sources, some of them changed; what is as it was keeps its time."""
        for name, text in {**self.files, **changed}.items():
            if name == SEAM + ".pxd":
                text += switches.DECLARED
            path = self.folder / name
            if not path.exists() or path.read_text("utf-8") != text:
                path.write_text(text, "utf-8")

    def run(self, *command):
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            raise NotBuilt(done.stderr + done.stdout)
        return done.stdout

    def compiled(self, source, flags):
        """The object of a source."""
        cc, include = sysconfig.get_config_var("CC").split(), sysconfig.get_paths()["include"]
        command = [*cc, *FLAGS.split(), *flags, "-w", "-Icsrc", f"-I{include}"]
        command += [f"-I{numpy.get_include()}", "-include", "fr_mutant.h"]
        text = self.run(*command, "-E", source)
        key = hashlib.sha256(text.encode() + repr(flags).encode()).hexdigest()[:24]
        target = self.objects / f"{key}.o"
        if not target.exists():
            self.run(*command, "-c", source, "-o", str(target))
        return str(target)

    def check(self):
        """What the compiler refuses of C, without compiling it."""
        wrong = set()
        for path in sorted((self.folder / "csrc").glob("*.c")):
            try:
                cc = sysconfig.get_config_var("CC").split()
                self.run(*cc, *FLAGS.split(), "-w", "-Icsrc", "-include", "fr_mutant.h",
                         "-fsyntax-only", f"csrc/{path.name}")  # fmt: skip
            except NotBuilt as error:
                if not error.places:
                    raise
                wrong |= error.places
        return wrong

    def build(self):
        """The path of the extension."""
        pieces = sorted(self.folder.glob("fastreg/_core/*.p*x*")) + [self.folder / f"{SEAM}.pxd"]
        seen = hashlib.sha256(b"".join(path.read_bytes() for path in pieces)).hexdigest()[:24]
        seam = self.objects / f"{seen}.c"
        if not seam.exists():
            options = [f"-X{name}={value}" for name, value in CYTHON.items() if "emit" not in name]
            self.run(sys.executable, "-m", "cython", "-3", *options, f"{SEAM}.pyx", "-o", str(seam))
        objects = [self.compiled(str(seam), ("-O0", "-DNPY_NO_DEPRECATED_API=NPY_2_0_API_VERSION"))]
        for path in sorted((self.folder / "csrc").glob("*.c")):
            objects.append(self.compiled(f"csrc/{path.name}", ("-O1",)))
        link = sysconfig.get_config_var("LDSHARED").split()
        self.run(*link, *objects, "-pthread", "-o", OUTPUT)
        return self.folder / OUTPUT

    def switched(self, mutants):
        """One build with many mutants: its path, and the numbers of those that are in it."""
        numbers = {mutant.key: k for k, mutant in enumerate(mutants, 1)}
        inside = list(mutants)
        while True:
            files = Counter(mutant.file for mutant in inside)
            self.put({
                name: switches.switched(
                    self.files[name],
                    {numbers[one.key]: one for one in inside if one.file == name},
                    not name.startswith("csrc/"),
                )
                for name in files
            })  # fmt: skip
            try:
                wrong = self.check()
                path = None if wrong else self.build()
            except NotBuilt as error:
                if not error.places:
                    raise
                wrong = error.places
            if not wrong:
                return path, {one.key: numbers[one.key] for one in inside}
            left = [one for one in inside if (one.file, one.line) not in wrong]
            if len(left) == len(inside):
                raise RuntimeError(f"no mutant stands at {wrong}")
            inside = left

    def alone(self, mutant):
        """A build with one mutant, in the place of what it replaces."""
        data = self.files[mutant.file].encode()
        after = data[mutant.at + len(mutant.old.encode()) :]
        self.put({mutant.file: (data[: mutant.at] + mutant.new.encode() + after).decode()})
        return self.build()
