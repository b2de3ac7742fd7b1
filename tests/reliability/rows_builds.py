"""M: the library built for tools that look at every access, every sum and every line.

M-01 and M-10 build the extension in a copy of the tree and run the suite there, a folder of tests
at a time; M-08 reads which lines of C that has run; M-04 runs the kernels without Python.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import drivers
from charter import TREE, Broken, row
from drivers import CLANG, edited
from rows_memory import needs, unset_scalar

#: The suite in pieces of some minutes each; the charter itself is not one of them. Kernels first.
FIRST = ["tests/core", "tests/penalty", "tests/norm", "tests/dropout", "tests/optim", "tests/nn"]
#: Left out in every build here, and why.
LEFT_OUT = {
    "tests/core/test_flags.py": "looks at the flags of a release",
    "tests/core/test_extension_file.py": "looks at the file of a release",
    "tests/test_release.py": "builds a release of its own",
    "tests/bench": "measures",
    "tests/docs": "builds pages",
}
#: And under the address sanitizer, which is an allocator itself.
NOT_SANITIZED = {
    "tests/sweeps/test_starved.py": "preloads an allocator of its own",
    "tests/core/test_thread_limits.py": "limits address space, of which shadow memory takes 16 TB",
}


def pieces():
    """All that has tests, the kernels' first."""
    found = sorted(
        str(path.relative_to(TREE))
        for path in (TREE / "tests").iterdir()
        if path.name.startswith("test_") or (path.is_dir() and any(path.glob("test_*.py")))
    )
    return FIRST + [path for path in found if path not in (*FIRST, *LEFT_OUT, "tests/reliability")]


def built(**environment):
    """A copy of the tree, with a fault if one is planted, and its extension built in place."""
    folder = Path(tempfile.mkdtemp(prefix="fastreg-"))
    unwanted = shutil.ignore_patterns(".git", "build", "*.so", "_kernels.c", "__pycache__", ".venv")
    shutil.copytree(TREE, folder / "tree", ignore=unwanted)
    for name, old, new in drivers.EDITS:
        text = (folder / "tree" / name).read_text("utf-8")
        assert text.count(old) == 1, f"{name} has {text.count(old)} times {old!r}"
        (folder / "tree" / name).write_text(text.replace(old, new), "utf-8")
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=folder / "tree",
        env={**os.environ, **environment}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return folder / "tree"


def tested(tree, paths, *left_out, **environment):
    """Run tests of a tree; none may fail."""
    skipped = [f"--ignore={path}" for path in (*LEFT_OUT, *left_out)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *skipped, *paths],
        cwd=tree, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(tree), **environment},
    )  # fmt: skip
    if done.returncode:
        raise Broken(f"{paths}: {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def of_gcc(name):
    return subprocess.run(
        ["cc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()


def sanitizers():
    """Each compiler's switches of the build, and the library that a plain Python preloads."""
    yield {}, f"{of_gcc('libasan.so')} {of_gcc('libubsan.so')}"
    if CLANG:
        name = "libclang_rt.asan-x86_64.so"
        asked = [CLANG, f"-print-file-name={name}"]
        library = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        yield {"CC": CLANG, "LDSHARED": f"{CLANG} -shared", "LDFLAGS": "-shared-libasan"}, library


outside = edited(
    (
        "csrc/penalty_tmpl.h",
        "const real a = (real)a_, b = (real)b_;\n    const ptrdiff_t run = stream",
        "const real a = (real)a_ + ((const volatile real *)x)[n + 1024], b = (real)b_;\n"
        "    const ptrdiff_t run = stream",
    )
)
outside.__name__ = "outside"


@row(
    "M-01",
    "address and undefined-behaviour sanitizers of gcc and of clang stop at nothing in the whole suite; nothing is suppressed",
    "parts of the suite",
    full=len(pieces()),
    planted=1,
    slow=True,
    faults=(outside,),
    needs=needs("cc"),
)
def sanitized(n):
    """The first n parts of the suite under each compiler."""
    for switches, library in sanitizers():
        tree = built(FASTREG_SANITIZE="address,undefined", **switches)
        try:
            for path in pieces()[:n]:
                tested(
                    tree, [path], *NOT_SANITIZED, LD_PRELOAD=library,
                    ASAN_OPTIONS="detect_leaks=0", UBSAN_OPTIONS="print_stacktrace=1",
                )  # fmt: skip
        finally:
            shutil.rmtree(tree.parent)
    return min(n, len(pieces()))


@row(
    "M-04",
    "valgrind's memcheck finds no invalid access and no use of what was not set in the kernels, on one thread, at every level that it knows (it has no AVX-512)",
    "families of kernels",
    full=2,
    planted=1,
    slow=True,
    faults=(unset_scalar,),
    needs=needs("valgrind"),
)
def checked(n):
    program = drivers.build("bits_driver.c", "-g", "-O1", compiler="cc")
    command = ["valgrind", "-q", "--error-exitcode=9", "--leak-check=full", str(program)]
    try:
        count = 0
        for _ in range(n):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise Broken(f"{done.returncode}\n{done.stderr[:3000]}")
            count += len(done.stdout.splitlines())
        return count
    finally:
        drivers.remove(program)


far = edited(
    (
        "fastreg/_core/_penalty.pxi",
        "            source, target = sources[i], targets[i]\n",
        "            source, target = sources[i], targets[i]\n"
        "            size = (<Py_ssize_t>0x7fffffffffffffff) + (i + 1)\n",
    )
)
far.__name__ = "far"


@row(
    "M-10",
    "the suite passes in a build that checks every index, every attribute that may be unset and every sum of integers of the Cython sources",
    "parts of the suite",
    full=len(pieces()),
    planted=2,
    slow=True,
    faults=(far,),
    needs=needs("cc"),
)
def debugged(n):
    """The first n parts of the suite."""
    tree = built(FASTREG_DEBUG="1")
    try:
        for path in pieces()[:n]:
            tested(tree, [path])
        return min(n, len(pieces()))
    finally:
        shutil.rmtree(tree.parent)


#: Lines of C that no test runs, and why: (file, what the line holds).
UNREACHED = {}  # (none has been looked at so far)
COVERED = {"CFLAGS": "--coverage", "LDFLAGS": "--coverage", "FASTREG_DEBUG": "1"}


def read_lines(tree):
    """How often each line and each branch of csrc/ ran, added up over types and levels."""
    objects = next((tree / "build").glob("temp.*/csrc"))
    notes = [str(path) for path in sorted(objects.glob("*.gcno"))]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["gcov", "-b", "-j", *notes], cwd=folder, check=True, capture_output=True)
        lines, branches = {}, {}
        for path in Path(folder).glob("*.gcov.json.gz"):
            for one in json.loads(gzip.decompress(path.read_bytes()))["files"]:
                name = os.path.normpath(one["file"])
                if not name.startswith("csrc"):
                    continue
                for line in one["lines"]:
                    at = name, line["line_number"]
                    lines[at] = lines.get(at, 0) + line["count"]
                    for k, branch in enumerate(line["branches"]):
                        if not branch["throw"]:
                            branches[*at, k] = branches.get((*at, k), 0) + branch["count"]
    return lines, branches


def unreached(tree):
    """Lines and branches of C that did not run and are not explained."""
    lines, branches = read_lines(tree)

    def known(at):
        return any(at[0] == name and text in source(tree, at) for name, text in UNREACHED)

    found = {at for at, count in lines.items() if not count and not known(at)}
    for (*at, k), count in branches.items():
        at = tuple(at)
        if lines.get(at) and not count and not known(at):
            found.add((*at, k))
    return sorted(found), len(lines), len(branches)


def source(tree, at):
    return (tree / at[0]).read_text("utf-8").splitlines()[at[1] - 1]


dead = edited(
    (
        "csrc/penalty_tmpl.h",
        "const real a = (real)a_, b = (real)b_;\n    const ptrdiff_t run = stream",
        "if (n == -7)\n        return;\n    const real a = (real)a_, b = (real)b_;\n"
        "    const ptrdiff_t run = stream",
    )
)
dead.__name__ = "dead"


@row(
    "M-08",
    "the tests of the kernels run every line of C; those that they do not are listed with a reason",
    "lines of C",
    full=1,
    planted=1,
    slow=True,
    faults=(dead,),
    needs=needs("gcov"),
)
def reached(n):
    tree = built(**COVERED)
    try:
        tested(tree, FIRST)
        missing, lines, _ = unreached(tree)
        if missing:
            said = [f"{':'.join(map(str, at))}: {source(tree, at).strip()}" for at in missing]
            raise Broken(f"{len(missing)} of {lines} lines\n" + "\n".join(said))
        return lines
    finally:
        shutil.rmtree(tree.parent)
