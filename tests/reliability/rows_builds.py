"""M: the library built for tools that look at every access, every sum and every line.

M-01 and M-10 build the extension in a copy of the tree and run the suite there, two files of tests
at a time. What became of a file is written down as it ends (build/suite-NAME.json): one that passed
is not run again until the library, the file, or what tests share has changed. M-08 reads which
lines of C the kernels' tests have run; M-04 runs the kernels without Python.
"""

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import drivers
import numpy
import pytest
from charter import TREE, Broken, row
from drivers import CLANG, edited
from rows_memory import needs, unset_scalar

#: The kernels' tests, which come first.
FIRST = ["tests/penalty", "tests/core", "tests/norm", "tests/dropout", "tests/optim", "tests/nn"]
FIRST += ["tests/test_products.py"]
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
    "tests/core/test_memory.py": "is about the pool, which no array uses there, so that all have guards",
    "tests/lab/test_clusters.py": "kills a worker: joblib then asks pgrep, which hangs with a sanitizer in it",
    "tests/sweeps/test_starved.py": "preloads an allocator of its own",
    "tests/core/test_thread_limits.py": "limits address space, of which shadow memory takes 16 TB",
}


def files():
    """All files of tests, the kernels' first; the charter itself is not among them."""

    def order(path):
        place = (k for k, name in enumerate(FIRST) if path.startswith(name))
        return next(place, len(FIRST)), path

    found = (path.relative_to(TREE).as_posix() for path in (TREE / "tests").rglob("test_*.py"))
    unwanted = (*LEFT_OUT, "tests/reliability")
    return sorted((path for path in found if not path.startswith(unwanted)), key=order)


def percent(n):
    """The first n percent of the files of tests, two at least."""
    found = files()
    return found[: max(2, len(found) * n // 100)]


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


def tested(tree, paths, **environment):
    """Run tests of a tree, none of which may fail, and return what pytest's last line counts."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.reliability.patient"]
        + ["-p", "no:cacheprovider", "--capture=sys", *paths],
        cwd=tree, capture_output=True, text=True,  # of C, too, which says what it stops at
        env={**os.environ, "PYTHONPATH": str(tree), **environment},
    )  # fmt: skip
    counts = re.findall(r"^(?:=+ )?(\d+ (?:passed|skipped)[^=\n]*)", done.stdout, re.MULTILINE)
    whole = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)  # all of a file was skipped
    if done.returncode not in whole or not counts:
        raise Broken(f"{paths}: {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return counts[-1]


def digest(tree, path, how):
    """Of all that a file of tests depends on: the library, how it is built and run, the file, and
    what tests share."""
    found = hashlib.sha256(json.dumps(how, sort_keys=True).encode())
    for part in ("csrc", "fastreg", "tests", "setup.py", "pyproject.toml"):
        for one in sorted([tree / part, *(tree / part).rglob("*")]):
            name = one.relative_to(tree).as_posix()
            mine = name == path.partition("::")[0] or not one.name.startswith("test_")
            made = one.suffix in (".so", ".pyc") or one.name == "_kernels.c"
            if one.is_file() and mine and not made and not name.startswith("tests/reliability"):
                found.update(name.encode() + one.read_bytes())
    return found.hexdigest()[:24]


def made_by():
    """Which compiler, Python and NumPy there are."""
    said = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=True).stdout
    return said.partition("\n")[0], sys.version, numpy.__version__


def suite(name, tree, paths, switches, tested=tested, **environment):
    """Run files of tests two at a time, all of them, and write down each; none may be red.

    The tree was built with the switches."""
    journal = TREE / "build" / f"suite-{name}{'-planted' * bool(drivers.EDITS)}.json"
    journal.parent.mkdir(exist_ok=True)
    known = json.loads(journal.read_text("utf-8")) if journal.exists() else {}
    red, writing = [], threading.Lock()

    def one(path):
        key = digest(tree, path, [switches, environment, *made_by()])
        if known.get(path, {}).get("passed") == key:
            return
        began = time.time()
        try:
            said = tested(tree, [path], **environment)
        except Broken as error:
            said, found = f"RED\n{error}", {"red": str(error)}
            red.append(str(error))
        else:
            found = {"passed": key, "said": said, "seconds": round(time.time() - began, 1)}
        print(f"{name}: {path}: {said}", flush=True)
        with writing:
            known[path] = found
            journal.write_text(json.dumps(dict(sorted(known.items())), indent=1), "utf-8")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, paths))
    if red:
        raise Broken(f"{name}: {len(red)} of {len(paths)} files are red\n" + "\n".join(red))


def of_gcc(name):
    return subprocess.run(
        ["cc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()


def preloads(compiler):
    """What is missing of a compiler, and of a system that preloads its sanitizers' libraries."""
    return lambda: needs(compiler)() or ("" if sys.platform == "linux" else "needs Linux")


def sanitizers():
    """Each compiler's switches of the build, and the library that a plain Python preloads."""
    found = {"FASTREG_SANITIZE": "address,undefined"}
    yield "gcc", found, f"{of_gcc('libasan.so')} {of_gcc('libubsan.so')}"
    if CLANG:
        name = "libclang_rt.asan-x86_64.so"
        asked = [CLANG, f"-print-file-name={name}"]
        library = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        own = {"CC": CLANG, "LDSHARED": f"{CLANG} -shared", "LDFLAGS": "-shared-libasan"}
        yield "clang", {**found, **own}, library


def in_maps(line):
    """A fault in the maps of penalties: a line that changes no result."""
    begin = "const real a = (real)a_, b = (real)b_;\n"
    end = "    const ptrdiff_t run = stream"
    return edited(("csrc/penalty_tmpl.h", begin + end, f"{begin}    {line}\n{end}"))


outside = in_maps("(void)((const volatile real *)x)[n + 1024];")
past_int = in_maps("volatile int last = 0x7fffffff;\n    last = last + (n > 0);")
past_cast = in_maps(
    "volatile double far = 1e30;\n    volatile int near = (int)far;\n    (void)near;"
)
outside.__name__, past_int.__name__, past_cast.__name__ = "outside", "past_int", "past_cast"


@row(
    "M-01",
    "address and undefined-behaviour sanitizers of gcc and of clang stop at nothing in the whole suite; nothing is suppressed",
    "percent of the files of tests",
    lacks="tests that measure, build pages or a release, or bring an allocator of their own; sums of integers that pass their range, which Python's own flags let wrap (M-01b)",
    full=100,
    planted=1,
    slow=True,
    faults=(outside,),
    needs=preloads("cc"),
)
def sanitized(n):
    """So many of the files of tests under each compiler."""
    chosen = [path for path in percent(n) if path not in NOT_SANITIZED]
    for compiler, switches, library in sanitizers():
        tree = built(**switches)
        try:
            suite(
                f"sanitized-{compiler}", tree, chosen, switches, LD_PRELOAD=library,
                PYTHONMALLOC="malloc",  # or small blocks of Python's would have no guards
                ASAN_OPTIONS="detect_leaks=0:allocator_may_return_null=1",  # no memory: an error
                UBSAN_OPTIONS="print_stacktrace=1",
            )  # fmt: skip
        finally:
            shutil.rmtree(tree.parent)
    return n


@row(
    "M-01b",
    "no sum of integers passes its range where it may not wrap, and no cast of a float does, in the tests of the kernels (gcc's sanitizer of undefined behaviour)",
    "percent of the files of tests",
    lacks="tests of what stands on the kernels",
    full=100,
    planted=1,
    slow=True,
    faults=(past_int, past_cast),
    needs=preloads("gcc"),
)
def in_range(n):
    """So many of the kernels' files. Python's own flags let sums wrap, so these take that back."""
    switches = {"FASTREG_SANITIZE": "undefined,float-cast-overflow", "CFLAGS": "-fno-wrapv"}
    kernels = [path for path in files() if path.startswith(tuple(FIRST))]
    tree = built(CC="gcc", **switches)
    try:
        suite("range", tree, kernels[: max(2, len(kernels) * n // 100)], switches,
              LD_PRELOAD=of_gcc("libubsan.so"), UBSAN_OPTIONS="print_stacktrace=1")  # fmt: skip
        return n
    finally:
        shutil.rmtree(tree.parent)


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
    found = 9  # how valgrind ends if it has found something; the program has other numbers
    command = ["valgrind", "-q", f"--error-exitcode={found}", "--leak-check=full", str(program)]
    try:
        count = 0
        for _ in range(n):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                kind = Broken if done.returncode == found else RuntimeError
                raise kind(f"{done.returncode}\n{done.stderr[:3000]}")
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
    "percent of the files of tests",
    lacks="tests that measure, or build pages or a release",
    full=100,
    planted=1,
    slow=True,
    faults=(far,),
    needs=needs("cc"),
)
def debugged(n):
    """So many of the files of tests."""
    switches = {"FASTREG_DEBUG": "1"}
    tree = built(**switches)
    try:
        suite("debug", tree, percent(n), switches)
        return n
    finally:
        shutil.rmtree(tree.parent)


#: One of the kernels' files takes an hour at -O0, for pages that it counts.
AT_LENGTH = "tests/core/test_memory.py"
#: Functions with lines that no test is seen to run, and why: (file, function).
UNREACHED = {
    ("csrc/team.c", "forget_helpers"): "runs in a forked child, which ends without writing counts",
    ("csrc/system.h", "fr_thread"): "its last line follows a call that never returns",
    ("csrc/system.h", "fr_leave"): "returns early where the system does not say which core it is",
    ("csrc/team.c", "finish"): "whether the caller sleeps depends on how long others take",
}
COVERED = {"CFLAGS": "--coverage -fprofile-update=atomic", "LDFLAGS": "--coverage"}
COVERED["FASTREG_DEBUG"] = "1"  # at -O0, so that lines stay apart


def read_lines(tree):
    """How often each line of csrc/ ran, added up over types and levels, but for `UNREACHED`."""
    objects = next((tree / "build").glob("temp.*/csrc"))
    notes = [str(path) for path in sorted(objects.glob("*.gcno"))]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["gcov", "-j", *notes], cwd=folder, check=True, capture_output=True)
        lines = {}
        for path in Path(folder).glob("*.gcov.json.gz"):
            for one in json.loads(gzip.decompress(path.read_bytes()))["files"]:
                name = os.path.normpath(one["file"])
                for line in one["lines"] if name.startswith("csrc") else ():
                    if (name, line.get("function_name")) not in UNREACHED:
                        at = name, line["line_number"]
                        lines[at] = lines.get(at, 0) + line["count"]
    return lines


def source(tree, at):
    return (tree / at[0]).read_text("utf-8").splitlines()[at[1] - 1]


dead = in_maps("if (n == -7)\n        return;")
dead.__name__ = "dead"


@row(
    "M-08",
    "the tests of the kernels run every line of C; those that they do not are listed with a reason",
    "lines of C",
    lacks="whether each condition goes both ways: in functions that are inlined, gcov counts the first one of each at the line of the call",
    full=1,
    planted=1,
    slow=True,
    faults=(dead,),
    needs=needs("gcov"),
)
def reached(n):
    tree = built(**COVERED)
    try:
        kernels = [path for path in files() if path.startswith(tuple(FIRST)) and path != AT_LENGTH]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda k: tested(tree, kernels[k::2]), range(2)))
        lines = read_lines(tree)
        missing = sorted(at for at, count in lines.items() if not count)
        if missing:
            said = [f"{':'.join(map(str, at))}: {source(tree, at).strip()}" for at in missing]
            raise Broken(f"{len(missing)} of {len(lines)} lines\n" + "\n".join(said))
        return len(lines)
    finally:
        shutil.rmtree(tree.parent)
