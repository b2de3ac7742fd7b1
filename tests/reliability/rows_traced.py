"""C-03b: the recorder of C-03 beside strace, which sees all calls of a process."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import rows_power
from charter import HERE, TREE, Broken, row

BEGIN, END = "/begins", "/ends"  # names that nothing has, looked up to mark the save
SAVE = """
import os, sys
import planted
planted.pytest_configure()
import rows_power
from rows_files import state
from fastreg import checkpoint
folder, there, n = sys.argv[1], sys.argv[2] == "old", int(sys.argv[3])
path = os.path.join(folder, "run")
if there:
    checkpoint.save(path, state(1, n))
with rows_power.Recorder(folder, {"run": 1} if there else {}) as recorder:
    os.access("/begins", 0)
    checkpoint.save(path, state(2, n))
    os.access("/ends", 0)
names = {1: "run"} | {call[2]: call[1] for call in recorder.log if call[0] == "entry"} | {"folder": ""}
for kind, *what in recorder.log:
    if kind == "rename":
        print(kind, what[0], what[1])
    elif kind == "entry":
        print("made" if what[1] else "removed", what[0])
    else:
        print(kind, names[what[0]], *[len(data) for data in what[1:]])
"""
#: Calls that change neither bytes nor names.
PASSIVE = {"access", "faccessat", "faccessat2", "close", "fstat", "newfstatat", "stat", "lstat"}
PASSIVE |= {"statx", "getdents64", "lseek", "fcntl", "ioctl", "flock", "fchmod", "fchown"}
PASSIVE |= {"readlink", "readlinkat", "read", "chdir", "getcwd"}


def seen(trace, folder):
    """The calls of a trace between the marks that change a folder or its files, as it prints."""
    inside, found = False, []
    for line in trace.splitlines():
        call = re.match(r"(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)", line)
        if call and f'"{BEGIN}"' in line:
            inside = True
        elif call and f'"{END}"' in line:
            return found
        elif inside and call and folder in line and int(call[3]) >= 0:
            found += translated(call[1], call[2], call[3], folder)
    raise RuntimeError(trace[-2000:])


def translated(name, given, result, folder):
    """What a call changes: nothing, or lines as those of `SAVE`."""
    paths = [one[1:] for one in re.findall(re.escape(folder) + r"(/[^\">]*|(?=[\">]))", given)]
    if name == "openat" and paths[0]:
        made = ["made " + paths[0]] if "O_CREAT" in given else []
        return made + ["cut " + paths[0]] * ("O_TRUNC" in given)
    if name == "write":
        return [f"write {paths[0]} {result}"]
    if name == "fsync":
        return [f"sync {paths[0]}"]
    if name in ("rename", "renameat", "renameat2"):
        return [f"rename {paths[-2]} {paths[-1]}"]
    if name in ("unlink", "unlinkat"):
        return [f"removed {paths[-1]}"]
    return [] if name in PASSIVE or name == "openat" else [f"{name} {given}"]


def sync_missed(patch):
    """A recorder that does not see what is forced to the disk."""
    patch.setattr(
        rows_power.Recorder, "fsync", lambda self, descriptor: self.real["fsync"](descriptor)
    )


def missing():
    return "" if shutil.which("strace") and hasattr(os, "fork") else "needs strace"


@row(
    "C-03b",
    "what C-03 records of a save is what strace sees of it: the same calls that make, write, force to the disk, rename or remove, of the same files and sizes, in the same order, and no other call that changes one",
    "calls",
    full=6,
    planted=2,
    slow=True,
    faults=(sync_missed,),
    needs=missing,
)
def traced(n):
    """n saves."""
    done, path = 0, os.pathsep.join([str(HERE), str(TREE), *filter(None, sys.path)])
    for k in range(n):
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as beside:
            folder, trace = os.path.realpath(folder), Path(beside, "trace")
            save = [
                sys.executable,
                "-c",
                SAVE,
                folder,
                ("new", "old")[k % 2],
                str((40, 20_000)[k % 3 > 0]),
            ]
            ended = subprocess.run(
                ["strace", "-f", "-y", "-s", "4096", "-e", "trace=file,desc", "-o", trace, *save],
                capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path},
            )  # fmt: skip
            if ended.returncode:
                raise RuntimeError(ended.stderr[-2000:])
            recorded = ended.stdout.splitlines()
            there = seen(trace.read_text(errors="replace"), folder)
            if recorded != there or not recorded:
                raise Broken(f"recorded {recorded}\nseen {there}")
            done += len(there)
    return done
