"""The extension as data: sources, flags per compiler, and three switches.

FASTREG_THREADS=0 builds without threads; FASTREG_DEBUG=1 without optimisation and with checks of
bounds and of sums of integers; FASTREG_SANITIZE=address,undefined under those sanitizers (gcc and
clang).
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from glob import glob

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

THREADS = os.environ.get("FASTREG_THREADS", "1") != "0"
DEBUG = os.environ.get("FASTREG_DEBUG", "0") == "1"
SANITIZE = os.environ.get("FASTREG_SANITIZE", "")

# These come after the CFLAGS and LDFLAGS of whoever builds, and a later flag wins: -ffast-math
# there would lose NaN and bits here, and at link time make the whole process flush subnormals.
PRECISE = ["-O0" if DEBUG else "-O1" if SANITIZE else "-O3"]
PRECISE += ["-fno-fast-math", "-fno-unsafe-math-optimizations"]
UNIX = [*PRECISE, "-fno-finite-math-only", "-fno-associative-math", "-fno-reciprocal-math"]
UNIX += ["-fsigned-zeros", "-fno-rounding-math", "-fno-math-errno", "-fno-trapping-math"]
UNIX += ["-ffp-contract=off", "-std=c11", "-fvisibility=hidden"]
UNIX += ["-g" if DEBUG or SANITIZE else "-g0"]
# What a process can overwrite of us, it cannot turn into a jump: tables of functions are read-only
# from the start, and a stack that was written over ends the process.
UNIX += ["-fstack-protector-strong"]
HARDENED = ["-Wl,-z,relro,-z,now"] if sys.platform == "linux" else []
SEAM = "_kernels.c"
UNALIGNED = [f"-fno-align-{what}" for what in ("loops", "jumps", "labels")]
# The seam calls kernels and gains nothing by -O3. Half of it is what to do when something failed,
# so it may be small: a small call takes 1 to 5 % more instructions, a step of a network no longer.
SMALL = ["-O2", "-fno-jump-tables", "-fno-tree-vectorize", "-fno-align-functions"]
OF_GCC = ["-fno-schedule-insns2", *UNALIGNED]
INLINED = {"max-inline-insns-single": 30, "max-inline-insns-auto": 8, "inline-unit-growth": 5}
# Of gcc's -O3, kernels want what vectorises, unrolls short loops and takes choices out of long
# ones. Without the rest they are a sixth smaller and, over all of them, as fast.
KERNELS = ["-O2", "-ftree-vectorize", "-fvect-cost-model=dynamic", "-fpeel-loops"]
KERNELS += ["-funswitch-loops", "-fsplit-loops", "-fno-schedule-insns2", *UNALIGNED]
KERNELS += ["--param=vect-epilogues-nomask=0", "-Wno-maybe-uninitialized"]  # filled by calls
MSVC = ["/std:c11", "/experimental:c11atomics", "/fp:precise", "/Od" if DEBUG else "/O2"]


def is_gcc(command):
    """Ask a compiler who it is: clang answers to gcc's name, too."""
    try:
        said = subprocess.run([*command, "--version"], capture_output=True)
    except OSError:  # whose words setuptools has
        return False
    return b"Free Software Foundation" in said.stdout


def own_flags(source, gcc):
    """Return what a source is compiled with beside the rest."""
    if SEAM not in source:
        return KERNELS if gcc else []
    params = [f"--param={name}={value}" for name, value in INLINED.items()]
    return SMALL + (OF_GCC + params) * gcc


class build_flags(build_ext):  # noqa: N801  (setuptools names commands in lower case)
    """Add the flags of the compiler that setuptools found."""

    def build_extensions(self):
        sanitize = [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover"] if SANITIZE else []
        for extension in self.extensions:
            if self.compiler.compiler_type == "msvc":
                extension.extra_compile_args = MSVC
            else:
                extension.extra_compile_args = UNIX + sanitize
                extension.extra_link_args = PRECISE + ["-pthread"] * THREADS + sanitize + HARDENED
                # A home-built Python tells extensions where it lives; ours needs nothing there.
                linker = self.compiler.linker_so
                linker[:] = [word for word in linker if not word.startswith("-Wl,-rpath")]
        one_by_one = self.compiler.compile

        gcc = self.compiler.compiler_type != "msvc" and is_gcc(self.compiler.compiler)

        def compiled(source, *args, **options):
            """A flag that comes later wins."""
            if "-O3" in options["extra_postargs"]:
                options["extra_postargs"] = [*options["extra_postargs"], *own_flags(source, gcc)]
            return one_by_one([source], *args, **options)

        def together(sources, *args, **options):
            """Compile the sources of an extension beside one another."""
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = pool.map(lambda source: compiled(source, *args, **options), sources)
                return [name for names in objects for name in names]

        self.compiler.compile = together
        super().build_extensions()


kernels = Extension(
    "fastreg._core._kernels",
    ["fastreg/_core/_kernels.pyx", *sorted(glob("csrc/*.c"))],
    include_dirs=["csrc", numpy.get_include()],
    depends=sorted(glob("csrc/*.h")) + sorted(glob("fastreg/_core/*.p[xy][di]")),
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")]
    + [("FR_NO_THREADS", None)] * (not THREADS),
)
directives = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "initializedcheck": DEBUG,
    "overflowcheck": DEBUG,
    "auto_pickle": False,
    "cdivision": True,
    "freethreading_compatible": True,
}
setup(
    ext_modules=cythonize([kernels], compiler_directives=directives, force=DEBUG),
    cmdclass={"build_ext": build_flags},
)
