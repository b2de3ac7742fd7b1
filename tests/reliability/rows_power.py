"""C-03: the power fails during a save.

The calls of a save are recorded as they are made, and replayed up to each of them onto what a file
system may keep. What `fsync` was told of is kept. Of all else any part may be: blocks of a file in any
order, its length without its bytes, and the entries of a folder (a new name, a rename, a removal)
each with or without the others.
"""

import os
import random
import tempfile
from itertools import product
from pathlib import Path

from charter import Broken, row
from rows_files import POSIX, state, whole

from fastreg import checkpoint
from fastreg._core import replace

BLOCK = 512  # bytes that a disk writes as a whole
OLD, NEW = 1, 2


class Recorder:
    """The calls that change files, while it is entered: what was done, to which file.

    A file is a number here, as in a file system: names come and go."""

    def __init__(self, folder, files):
        self.folder, self.files, self.log = str(folder), dict(files), []
        self.open_files, self.real = {}, {}

    def __enter__(self):
        for name in ("open", "write", "fsync", "close", "replace", "rename", "remove", "unlink"):
            self.real[name] = getattr(os, name)
            setattr(os, name, getattr(self, name))
        return self

    def __exit__(self, *error):
        for name, call in self.real.items():
            setattr(os, name, call)

    def base(self, path):
        folder, name = os.path.split(os.path.abspath(os.fspath(path)))
        return name if folder == self.folder else None

    def open(self, path, flags, *rest, **options):
        descriptor = self.real["open"](path, flags, *rest, **options)
        name = self.base(path)
        if os.path.abspath(os.fspath(path)) == self.folder:
            self.open_files[descriptor] = "folder"
        elif name is not None:
            if flags & os.O_CREAT and name not in self.files:
                self.files[name] = len(self.files) + 100
                self.log.append(("entry", name, self.files[name]))
            if flags & os.O_TRUNC:
                self.log.append(("cut", self.files[name]))
            self.open_files[descriptor] = self.files[name]
        return descriptor

    def write(self, descriptor, data):
        written = self.real["write"](descriptor, data)
        if descriptor in self.open_files:
            self.log.append(("write", self.open_files[descriptor], bytes(data[:written])))
        return written

    def fsync(self, descriptor):
        self.real["fsync"](descriptor)
        self.log.append(("sync", self.open_files.get(descriptor)))

    def close(self, descriptor):
        self.open_files.pop(descriptor, None)
        self.real["close"](descriptor)

    def replace(self, old, new, **options):
        self.real["replace"](old, new, **options)
        old, new = self.base(old), self.base(new)
        self.files[new] = self.files.pop(old)
        self.log.append(("rename", old, new, self.files[new]))

    rename = replace

    def remove(self, path, **options):
        self.real["remove"](path, **options)
        self.files.pop(self.base(path), None)
        self.log.append(("entry", self.base(path), None))

    unlink = remove


class Disk:
    """What is safe, and what is only on its way."""

    def __init__(self, entries, contents):
        self.entries, self.safe = dict(entries), dict(contents)
        self.now = dict(contents)
        self.waiting = []  # changes of the folder

    def apply(self, call):
        kind, *what = call
        if kind == "write":
            self.now[what[0]] = self.now.get(what[0], b"") + what[1]
        elif kind == "cut":
            self.now[what[0]] = b""
        elif kind == "sync" and what[0] == "folder":
            self.entries = self.with_changes([True] * len(self.waiting))
            self.waiting = []
        elif kind == "sync" and what[0] is not None:
            self.safe[what[0]] = self.now.get(what[0], b"")
        elif kind in ("entry", "rename"):
            self.waiting.append(call)

    def with_changes(self, kept):
        """The folder's entries with those of the waiting changes that are kept."""
        entries = dict(self.entries)
        for (kind, *what), here in zip(self.waiting, kept, strict=True):
            if not here:
                continue
            if kind == "rename":
                entries.pop(what[0], None)
                entries[what[1]] = what[2]
            elif what[1] is None:
                entries.pop(what[0], None)
            else:
                entries[what[0]] = what[1]
        return entries

    def content(self, file, pick, part):
        """The bytes of a file: what is safe, all, or some blocks of what is not safe yet."""
        safe, now = self.safe.get(file, b""), self.now.get(file, b"")
        if part in ("safe", "all") or safe == now:
            return safe if part == "safe" else now
        length = pick.choice((len(now), len(safe), pick.randrange(len(now) + 1)))
        found = bytearray(safe[:length].ljust(length, b"\0"))
        for place in range(0, length, BLOCK):
            if pick.random() < 0.7:
                found[place : place + BLOCK] = now[place : min(place + BLOCK, length)]
        return bytes(found)


def temporary():
    """A folder in memory, if there is such a place: no disk is waited for, where none is asked."""
    return tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)


def recorded(folder, there_before, n):
    """The calls of a save of n numbers, and the disk before it."""
    path, files, contents = Path(folder) / "run", {}, {}
    for name in os.listdir(folder):
        os.remove(os.path.join(folder, name))
    if there_before:
        checkpoint.save(path, state(OLD, n))
        files, contents = {"run": 1}, {1: path.read_bytes()}
    with Recorder(folder, files) as recorder:
        checkpoint.save(path, state(NEW, n))
    if not recorder.log or path.read_bytes() not in (c[2] for c in joined(recorder.log)):
        raise RuntimeError("the recorder has not seen the file that was written")
    return recorder.log, Disk(files, contents)


def joined(log):
    """The writes of each file, end to end."""
    files = {}
    for kind, *what in log:
        if kind == "write":
            files[what[0]] = files.get(what[0], b"") + what[1]
    return [("write", file, data) for file, data in files.items()]


def states(disk, pick):
    """Folders that may be found when the power is back: names and bytes."""
    for kept in product((False, True), repeat=len(disk.waiting)):
        entries = disk.with_changes(kept)
        for part in ("safe", "all", *["some"] * 8):
            yield {name: disk.content(file, pick, part) for name, file in entries.items()}


def looked_at(folder, found, allowed):
    """Whether a folder has one of the states that are allowed, and takes a further save."""
    for name in os.listdir(folder):
        os.remove(os.path.join(folder, name))
    for name, data in found.items():
        Path(folder, name).write_bytes(data)
    path = Path(folder) / "run"
    there = whole(path) if path.exists() else None
    if there not in allowed:
        raise Broken(f"{there} is found, not one of {allowed}")
    checkpoint.save(path, state(3, 4))
    if whole(path) != 3 or os.listdir(folder) != ["run"]:
        raise Broken("what was left is in the way of the next save")


def unsynced(patch):
    """A save that does not wait for its bytes."""

    class Hasty:
        def __getattr__(self, name):
            return getattr(os, name)

        def fsync(self, descriptor):
            pass

    patch.setattr(replace, "os", Hasty())


def folder_unsynced(patch):
    """A save that returns before its file's name is on the disk."""
    patch.setattr(replace, "_sync_folder", lambda folder: None)


def over_the_old(patch):
    """A save into the file itself, which waits for its bytes."""

    def written(folder, name, data, before):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        descriptor = os.open(os.path.join(folder, name), flags, 0o600)
        os.write(descriptor, data)
        os.fsync(descriptor)
        os.close(descriptor)
        replace._sync_folder(folder)

    patch.setattr(replace, "_replace", written)


@row(
    "C-03",
    "the power fails after any call of a save: whatever a file system may have kept of what was not synced, in any order, the old file or the new one is there; once the save has returned, the new one",
    "different states of a disk",
    full=100_000,
    short=150,
    faults=(unsynced, folder_unsynced, over_the_old),
    needs=POSIX,
)
def power_lost(n):
    pick, seen, size = random.Random(), set(), 300
    with temporary() as folder, temporary() as after:
        folder, after = os.path.realpath(folder), os.path.realpath(after)
        while len(seen) < n:
            for there_before in (True, False):
                log, disk = recorded(folder, there_before, size)
                before = OLD if there_before else None
                for k in range(len(log) + 1):
                    allowed = (before, NEW) if k < len(log) else (NEW,)
                    for found in states(disk, pick):
                        what = (
                            allowed,
                            *sorted((name == "run", hash(data)) for name, data in found.items()),
                        )
                        if what not in seen:
                            looked_at(after, found, allowed)
                            seen.add(what)
                    if k < len(log):
                        disk.apply(log[k])
            size = pick.choice((1, 40, 300, 3000, 20_000))
    return len(seen)
