"""S-01, S-02, S-04 and S-05: distributions, and how they are published."""

import base64
import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import packages
from charter import TREE, Broken, row
from drivers import edited

WHERE = (
    {"umask": 0o022, "zone": "UTC", "days": 0},
    {"umask": 0o077, "zone": "Pacific/Auckland", "days": 400},
    {"umask": 0o002, "zone": "America/St_Johns", "days": -200},
)
PREBUILT = 2  # so many builds take the library that is there


def fault(name, *edits):
    found = edited(*edits)
    found.__name__ = name
    return found


# --- S-01: the same bytes -----------------------------------------------------------------------

dated = fault(
    "dated", (".ci/finish", "time.gmtime(max(EPOCH, 315532800))", "time.localtime(time.time())")
)
dated_by_its_source = fault(
    "dated_by_its_source",
    (
        "csrc/scalar.c",
        '#include "wide.h"\n',
        '#include "wide.h"\nconst char *fr_built(void);\n'
        "const char *fr_built(void) { return __TIMESTAMP__; }\n",
    ),
)
umask_kept = fault("umask_kept", (".ci/finish", "0o755 if old.mode & 0o100 else 0o644", "old.mode"))


@row(
    "S-01",
    "builds in other folders, homes and time zones, with another umask and files of other dates, give the same source distribution, wheel and objects, byte for byte (two take the library that is there; of more, everything is compiled)",
    "builds",
    lacks="another user, and files in another order",
    full=len(WHERE),
    short=PREBUILT,
    faults=(dated, dated_by_its_source, umask_kept),
    needs=packages.missing,
)
def reproducible(n):
    with tempfile.TemporaryDirectory() as root:
        folders = [Path(root, f"the {k}th") for k in range(n)]
        pairs = list(zip(folders, WHERE, strict=False))
        sources = [packages.source_distribution(folder, **where) for folder, where in pairs]
        same([{path.name: path.read_bytes()} for path in sources])
        same([packages.objects(folder, packages.SMALL) for folder in folders])
        wheels = [
            packages.wheel_of(source, compiled=n > PREBUILT, **where)
            for source, where in zip(sources, WHERE, strict=False)
        ]
        same([{path.name: path.read_bytes()} for path in wheels])
    return n


def same(found):
    """Files by name, the same in each place."""
    for other, where in zip(found, WHERE, strict=False):
        different = [name for name in found[0] if found[0][name] != other.get(name)]
        if different:
            raise Broken(f"{different} are others with {where}")


# --- S-02: what is in them, and what it does ----------------------------------------------------

TESTS = ("schedule", "penalty", "dropout", "nn", "optim", "norm", "core")
BUILD_ALONE = re.compile(r"\.(pyx|pxi|pxd|c|h|o)$")
IMPORTED = """
import importlib, pkgutil, sys
folder = sys.argv[1]
import fastreg
assert fastreg.__file__.startswith(folder), fastreg.__file__
count = 0
for found in pkgutil.walk_packages(fastreg.__path__, "fastreg."):
    if "__main__" in found.name:
        continue
    try:
        importlib.import_module(found.name)
    except ModuleNotFoundError as error:
        if (error.name or "fastreg").split(".")[0] == "fastreg":
            raise
    else:
        count += 1
print(count)
"""
package_forgotten = fault("package_forgotten", ("pyproject.toml", '"fastreg.penalty", ', ""))
tests_forgotten = fault(
    "tests_forgotten",
    ("MANIFEST.in", "recursive-include tests *.py *.c ", "recursive-include tests *.py "),
)
sources_carried = fault(
    "sources_carried",
    ("pyproject.toml", '"fastreg._core" = ["*.pyi"]', '"fastreg._core" = ["*.pyi", "*.pyx"]'),
)


def shipped():
    """What a wheel must have of the repository's files."""
    return {
        name
        for name in packages.listed()
        if name.startswith("fastreg/") and not BUILD_ALONE.search(name)
    }


def looked_into(wheel):
    """How many files a wheel has; none is missing and none too many."""
    names = set(packages.contents(wheel))
    missing = shipped() - names
    foreign = [name for name in names if not name.startswith(("fastreg/", "fastreg-"))]
    foreign += [name for name in names if BUILD_ALONE.search(name)]
    if missing or foreign:
        raise Broken(f"the wheel lacks {sorted(missing)} and has {foreign}")
    return len(names)


def unpacked_whole(source):
    """Whether all that is built, tested and documented is in a source distribution."""
    (tree,) = (source.parent.parent / "unpacked").glob("fastreg-*")
    there = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    needed = {
        name
        for name in packages.listed()
        if name.startswith(("fastreg/", "csrc/", "tests/", "docs/"))
    }
    if needed - there:
        raise Broken(f"the source distribution lacks {sorted(needed - there)}")


def used(folder, n):
    """Import all that an unpacked wheel has, and run so many folders of tests beside it."""
    shutil.copytree(TREE / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(folder)}

    def process(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True,
            text=True, timeout=3600,
        )  # fmt: skip
        if done.returncode:
            raise Broken(f"{arguments[:3]}: {done.stdout[-3000:]}{done.stderr[-2000:]}")
        return done.stdout

    done = int(process("-W", "ignore", "-c", IMPORTED, str(folder)))
    if n:
        told = process("-m", "pytest", "-q", "-c", os.devnull, "--rootdir=.", "-p", "no:cacheprovider",
                       *(f"tests/{name}" for name in TESTS[:n]), "-x")  # fmt: skip
        count = re.search(r"(\d+) passed", told)
        if not count:
            raise Broken(f"no test passed: {told[-1000:]}")
        done += int(count[1])
    return done


@row(
    "S-02",
    "the source distribution has all that is built, tested and documented, the wheel that is built from it has every file of the package and nothing of the build, and without the sources all of it is imported and its tests pass",
    "files, modules and tests",
    full=1 + len(TESTS),
    short=2,
    planted=1,
    faults=(package_forgotten, tests_forgotten, sources_carried),
    needs=packages.missing,
)
def complete(n):
    """A wheel with a library that is compiled if more than one folder of tests is run."""
    with tempfile.TemporaryDirectory() as root:
        source = packages.source_distribution(Path(root, "build"), **WHERE[0])
        unpacked_whole(source)
        wheel = packages.wheel_of(source, compiled=n > 2, **WHERE[0])
        done = looked_into(wheel)
        folder = Path(root).resolve() / "away"
        shutil.unpack_archive(wheel, folder, "zip")
        return done + used(folder, n - 1)


# --- S-02b: what tools say of them ---------------------------------------------------------------

undescribed = fault("undescribed", ("pyproject.toml", 'readme = "README.md"\n', ""))
citation_forgotten = fault("citation_forgotten", ("MANIFEST.in", " CITATION.cff", ""))


def asked(tool, *arguments, folder):
    """A tool must have nothing to say against what is in a folder."""
    done = subprocess.run(
        [packages.tool(tool), *arguments], cwd=folder, capture_output=True, text=True, timeout=1800
    )
    if done.returncode:
        raise Broken(f"{tool}: {done.stdout[-2000:]}{done.stderr[-3000:]}")


@row(
    "S-02b",
    "twine, strictly, and check-manifest have nothing to say: the source distribution and the wheel describe themselves, and every file of the repository is in the source distribution or ruled out by name",
    "files",
    lacks="what the index says of an upload, and auditwheel, whose tag depends on the system of whoever builds: `make wheel` asks it",
    full=1,
    planted=1,
    slow=True,
    faults=(undescribed, citation_forgotten),
    needs=lambda: packages.missing() or packages.needs("git", "twine", "check-manifest"),
)
def approved(n):
    """check-manifest lists a repository: a new one, of a copy of the files."""
    with tempfile.TemporaryDirectory() as root:
        source = packages.source_distribution(Path(root, "build"), **WHERE[0])
        wheel = packages.wheel_of(source, compiled=False, **WHERE[0])
        asked("twine", "check", "--strict", str(source), str(wheel), folder=root)
        tree = Path(root, "repository")
        packages.copied(tree)
        packages.lend_the_library(tree)
        for command in (["init", "-q"], ["add", "-A"]):
            asked("git", *command, folder=tree)
        asked("check-manifest", "--no-build-isolation", folder=tree)
        return len(packages.listed())


# --- S-05: the bill of materials and the licences -----------------------------------------------

SYSTEM = re.compile(r"(libc|libm|libpthread|libdl|librt|ld-linux.*)\.so\.\d")
licence_removed = fault(
    "licence_removed", ("pyproject.toml", 'license-files = ["LICENSE"]', "license-files = []")
)
cython_unlisted = fault("cython_unlisted", (".ci/finish", '"name": "Cython"', '"name": "support"'))
record_stale = fault(
    "record_stale",
    (".ci/finish", "            archive.writestr(entry, files[name])",
     '            archive.writestr(entry, files[name] + b" " * name.endswith("METADATA"))'),
)  # fmt: skip


def compared(what, found, expected):
    if found != expected:
        raise Broken(f"{what}: {found!r}, not {expected!r}")


@row(
    "S-05",
    "every wheel has the licence, and a bill of materials (CycloneDX, where PEP 770 has it) of what is compiled in and carried along, which is what the loader is asked for; its RECORD has the digest of every file",
    "files",
    full=1,
    short=1,
    faults=(licence_removed, cython_unlisted, record_stale),
    needs=packages.missing,
)
def billed(n):
    with tempfile.TemporaryDirectory() as root:
        source = packages.source_distribution(Path(root, "build"), **WHERE[0])
        wheel = packages.wheel_of(source, compiled=False, **WHERE[0])
        files = packages.contents(wheel)
        info = next(name for name in files if name.endswith("/METADATA")).partition("/")[0]
        licence = files.get(f"{info}/licenses/LICENSE")
        compared("the licence", licence, (TREE / "LICENSE").read_bytes())
        if b"\nLicense-File: LICENSE\n" not in files[f"{info}/METADATA"]:
            raise Broken("the metadata name no licence")
        (bill,) = (json.loads(files[name]) for name in files if f"{info}/sboms/" in name)
        compared("the format", (bill["bomFormat"], bill["specVersion"]), ("CycloneDX", "1.6"))
        described = bill["metadata"]["component"]
        version = re.search(rb"\nVersion: (.*)", files[f"{info}/METADATA"])[1].decode()
        compared("what it is of", (described["name"], described["version"]), ("fastreg", version))
        parts = {part["name"]: part for part in bill["components"]}
        libraries = [name for name in files if re.search(r"\.so($|\.)", name)]
        for name in libraries:
            marks = {mark.decode() for mark in re.findall(rb"_cython_(\d+_\d+_\d+)", files[name])}
            if marks:
                found = {parts.get("Cython", {}).get("version", "").replace(".", "_")}
                compared("Cython's version", found, marks)
                compared(
                    "and licence", parts["Cython"]["licenses"][0]["license"]["id"], "Apache-2.0"
                )
            Path(root, "library").write_bytes(files[name])
            told = subprocess.run(
                ["readelf", "-d", Path(root, "library")], capture_output=True, text=True, check=True
            ).stdout
            foreign = [
                needed
                for needed in re.findall(r"\(NEEDED\).*\[(.*)\]", told)
                if not SYSTEM.fullmatch(needed) and needed not in parts
            ]
            compared(f"what {name} needs of nobody", foreign, [])
        for name, digest, size in csv.reader(files[f"{info}/RECORD"].decode().splitlines()):
            if name != f"{info}/RECORD":
                made = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest())
                made = f"sha256={made.rstrip(b'=').decode()}"
                compared(f"RECORD's {name}", (digest, int(size)), (made, len(files[name])))
        return len(files)


# --- S-04: how they are published ---------------------------------------------------------------


def jobs(text):
    """The text of each job of a workflow."""
    parts = re.split(r"^  ([\w-]+):\n", text.split("\njobs:\n", 1)[1], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def workflow():
    return (TREE / ".github" / "workflows" / "wheels.yml").read_text("utf-8")


def changed(name, old, new):
    def fault(patch):
        assert old in workflow(), old
        text = workflow().replace(old, new)
        patch.setattr("rows_packages.workflow", lambda: text)

    fault.__name__ = name
    return fault


@row(
    "S-04",
    "the workflow publishes by the index's trust alone, with attestations, in a job of its own that builds nothing, takes what the job before it finished, and alone may ask for an identity; no password or token is in it (its text is read; that the index does so needs a publication)",
    "jobs",
    full=1,
    short=1,
    faults=(
        changed("with_a_token", "attestations: true", "attestations: true\n          password: ${{ secrets.PYPI }}"),
        changed("without_attestations", "attestations: true", "attestations: false"),
        changed("identity_for_builders", "    permissions:\n      contents: read\n", "    permissions:\n      contents: read\n      id-token: write\n"),
        changed("from_a_branch", '  push:\n    tags: ["v*"]\n', '  push:\n    tags: ["v*"]\n    branches: [main]\n'),
        changed("by_anyone", "if: github.event_name == 'push'", "if: github.event_name != 'pull_request'"),
        changed("built_where_published", "      - uses: pypa/gh-action", "      - run: python -m build\n      - uses: pypa/gh-action"),
    ),
)  # fmt: skip
def trusted(n):
    text = workflow()
    if re.search(r"secrets\.|password|api[-_]token|TWINE_", re.sub("#.*", "", text), re.IGNORECASE):
        raise Broken("a password or token")
    found = jobs(text)
    publishing = [name for name, job in found.items() if "gh-action-pypi-publish@" in job]
    asking = [name for name, job in found.items() if "id-token: write" in job]
    if len(publishing) != 1 or asking != publishing:
        raise Broken(f"{publishing} publish, {asking} may ask for an identity")
    job = found[publishing[0]]
    if re.search(r"\brun:|actions/checkout@|setup-python@", job):
        raise Broken("the job that publishes does something else, too")
    for needed in (
        "\n    needs: ",
        "\n    environment:",
        "attestations: true",
        "download-artifact@",
    ):
        if needed not in job:
            raise Broken(f"the job that publishes has no {needed.strip()}")
    condition = re.search(r"\n    if: (.*)", job)
    by_tag = "github.event_name == 'push' && startsWith(github.ref, 'refs/tags/')"
    if not condition or condition[1] not in (by_tag, "github.event_name == 'push'"):
        raise Broken("it publishes at another event than a push")
    if condition[1] != by_tag and not re.search(r"\n  push:\n    tags: .*\n  (?!  )", text):
        raise Broken("it publishes at the push of a branch")
    return len(found)
