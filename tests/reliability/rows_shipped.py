"""S: what is shipped."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import packages
from charter import HERE, TREE, Broken, kept_by, row

import fastreg


def lazily_bound(patch):
    """readelf tells of an extension that is neither bound at once nor read-only."""
    plain = subprocess.run

    def run(command, *arguments, **how):
        done = plain(command, *arguments, **how)
        if command[0] == "readelf":
            done.stdout = done.stdout.replace("BIND_NOW", "").replace("GNU_RELRO", "")
        return done

    patch.setattr(subprocess, "run", run)


kept_by(
    "S-03",
    "the extension exports its entry alone, is bound at once, read-only, without an executable stack or a foreign path",
    "tests/core/test_extension_file.py",
    lacks="which instructions are in functions that are not chosen by level, and a ceiling of size",
    times=1,
    faults=(lazily_bound,),
)


def workflows():
    return {
        path.name: path.read_text("utf-8")
        for path in (TREE / ".github" / "workflows").glob("*.yml")
    }


def a_tag(patch):
    """An action by a tag, which may be moved."""
    plain = workflows
    patch.setattr(
        "rows_shipped.workflows", lambda: plain() | {"x": "permissions: {}\nuses: a/b@v4"}
    )


@row(
    "S-06",
    "workflows have no rights of their own, actions by the hash of their commit, checkouts that keep no credentials, and no text of an event in a command",
    "workflows",
    full=1,
    short=1,
    faults=(a_tag,),
)
def pinned(n):
    texts = workflows()
    if not texts:
        raise Broken("no workflows")
    for name, text in texts.items():
        if not re.search(r"^permissions: \{\}$", text, re.MULTILINE):
            raise Broken(f"{name} has rights that no job asks for")
        for action in re.findall(r"uses: (\S+)", text):
            if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action):
                raise Broken(f"{name}: {action}")
        if text.count("actions/checkout@") != text.count("persist-credentials: false"):
            raise Broken(f"{name}: a checkout keeps its credentials")
        if re.search(r"\$\{\{\s*github\.(event|head_ref)", text):
            raise Broken(f"{name}: text of an event")
    return len(texts)


def added(name, *lines):
    """A workflow beside the others whose one job has some lines."""
    job = "".join(f"    {line}\n" for line in lines)
    begin = "name: x\non: pull_request\npermissions: {}\n"
    begin += "concurrency:\n  group: ${{ github.ref }}\n  cancel-in-progress: true\n"
    text = f"{begin}jobs:\n  x:\n    name: x\n{job}"

    def fault(patch):
        plain = workflows
        patch.setattr("rows_shipped.workflows", lambda: plain() | {"x.yml": text})

    fault.__name__ = name
    return fault


RUNS = "runs-on: ubuntu-24.04"


@row(
    "S-06b",
    "zizmor, offline, finds nothing in the workflows, not even as an auditor, who is told of all that could be wrong; nothing is ignored",
    "workflows",
    lacks="what zizmor looks up on line: whether the hash of an action is one of its repository, and whether a hole in it is known",
    full=1,
    short=1,
    faults=(
        added("all_rights", RUNS, "permissions: write-all", "steps: [run: echo]"),
        added("own_machine", "runs-on: self-hosted", "steps: [run: echo]"),
        added("text_in_a_command", RUNS, "steps:", "  - run: echo ${{ github.head_ref }}"),
    ),
    needs=lambda: packages.needs("zizmor"),
)
def audited(n):
    texts = workflows()
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, ".github", "workflows")
        folder.mkdir(parents=True)
        for name, text in texts.items():
            (folder / name).write_text(text, "utf-8")
            if "zizmor: ignore" in text:
                raise Broken(f"{name}: something is ignored")
        command = [packages.tool("zizmor"), "--offline", "--no-config", "--no-progress"]
        command += ["--strict-collection", "--persona=auditor", root]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        found = 11 <= done.returncode <= 14  # by how grave the worst is; else it could not run
        raise (Broken if found else RuntimeError)(done.stdout + done.stderr)
    read = done.stderr.count("completed ")
    if read != len(texts):
        raise RuntimeError(f"it read {read} of {len(texts)} workflows: {done.stderr}")
    return read


QUIET = """
import os, sys
if os.environ.get("FASTREG_FAULT"):
    import planted
    planted.pytest_configure()
found, known = [], set(sys.modules)
def hook(event, arguments):
    if event.split(".")[0] in ("socket", "subprocess", "urllib", "http", "ftplib", "smtplib") or (
        event in ("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn")
    ):
        found.append(event)
import numpy as np
known |= set(sys.modules)
sys.addaudithook(hook)
import fastreg
from fastreg import nn
w, X = {"w": np.ones((300, 700), "f")}, np.ones((300, 700), "f")
fastreg.Adam().update(w, {"w": X})
for layer in (fastreg.Dropout(0.5, rng=1), fastreg.BatchNorm(700), nn.Dense(700, 5, rng=1)):
    layer.backward(layer.forward(X))
nn.softmax_cross_entropy(X, np.zeros(300, int))
foreign = {name.split(".")[0] for name in set(sys.modules) - known}
print(found, sorted(n for n in foreign - set(sys.stdlib_module_names) - {"fastreg", "numpy"} if "cython" not in n))
"""


def calls_home(patch):
    """A library that opens a socket."""
    import socket

    plain = fastreg.Adam.update

    def update(self, *arguments):
        socket.socket().close()
        plain(self, *arguments)

    patch.setattr(fastreg.Adam, "update", update)


@row(
    "S-07",
    "import and work load NumPy alone beside the standard library, open no socket and start no process (audit hook)",
    "processes",
    full=20,
    short=1,
    faults=(calls_home,),
)
def alone(n):
    path = os.pathsep.join([str(HERE), str(TREE), *filter(None, sys.path)])
    for _ in range(n):
        done = subprocess.run(
            [sys.executable, "-c", QUIET], capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": path}, timeout=600,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        if done.stdout.split("\n")[0] != "[] []":
            raise Broken(done.stdout)
    return n
