"""Replace a file as a whole: whoever opens its name finds the old bytes or the new ones.

The bytes are written to a temporary file in the same folder, which is forced to the disk and
renamed. Until the rename the old file is untouched, and after it nothing is raised. A writer holds
a lock on its temporary file. That distinguishes a file that a killed process has left from one that
another process is writing, even in another container, where process ids say nothing.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import secrets
import stat
from contextlib import contextmanager, suppress
from typing import Any

from fastreg._core.digest import sha256

try:
    import fcntl
except ImportError:  # Windows: without locks, files of killed processes are not removed
    fcntl = None  # type: ignore[assignment]

__all__ = ["replace_file"]

HOST = sha256(platform.node().encode())[:8]  # other hosts' locks may not show
TRIES = 100  # of a call that a signal interrupts
MOST_LINKS = 40  # from a name to its file, as in Linux
LONGEST_FOLDER = 4000  # bytes; Linux takes paths of 4095
FOREIGN = {errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}  # by file systems without it


def replace_file(path: str, data: Any) -> None:
    """Make ``data`` the whole content of the file ``path``, or raise and leave the old one.

    An existing file keeps its mode and, where the system permits it, its owner and group; a new
    one gets the mode that the umask gives. Symbolic links are followed to their file, as `open`
    does. Anything there but a regular file is refused. Every `OSError` names ``path``.
    """
    before = _regular(path)
    target = _followed(path)
    if before is not None and target != path:
        found = _regular(target)
        if found is None or not os.path.samestat(before, found):  # as /dev/stdout may be
            raise OSError(errno.EINVAL, "Its file has another name or none", path)
    try:
        with _short(*os.path.split(target)) as (folder, name):
            _replace(folder, name, data, before)
    except OSError as error:  # it names the temporary file, or none
        if error.errno is not None:
            error.filename = path
            del error.filename2
        raise


@contextmanager
def _short(folder, name):
    """A path to a folder, short enough for a temporary name, and the file's name in it."""
    if len(os.fsencode(folder)) <= LONGEST_FOLDER or not hasattr(os, "O_PATH"):
        yield folder, name
        return
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}", name
    finally:
        with suppress(OSError):
            os.close(descriptor)


def _replace(folder, name, data, before):
    path = os.path.join(folder, name)
    start = f".fastreg-{sha256(os.fsencode(name))[:16]}-{HOST}-"
    _remove_orphans(folder, start)
    temporary, descriptor = _create(os.path.join(folder, start), before)
    try:
        _write(descriptor, data)
        _keep_mode(descriptor, before)
        os.fsync(descriptor)
        if fcntl is None:  # Windows cannot rename an open file
            descriptor = os.close(descriptor)
        _rename(temporary, path, descriptor)
    except BaseException:
        with suppress(OSError):
            os.remove(temporary)
        raise
    finally:
        if descriptor is not None:
            with suppress(OSError):  # its bytes are on the disk
                os.close(descriptor)
    _sync_folder(folder)


def _retried(call, *arguments):
    """Repeat a call that a signal interrupts; Python itself does so for most calls."""
    last = InterruptedError()
    for _ in range(TRIES):
        try:
            return call(*arguments)
        except InterruptedError as error:
            last = error
    raise last


def _regular(path):
    """The status of a regular file, or None where there is nothing; refuse anything else."""
    try:
        found = _retried(os.stat, path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file, so it is not replaced", path)
    return found


def _followed(start):
    """Follow the symbolic links from a name to where its file is or would be."""
    path = start
    for _ in range(MOST_LINKS + 1):
        try:
            link = _retried(os.readlink, path)
        except OSError:
            return path
        path = os.path.join(os.path.dirname(path), link)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), start)


def _create(start, before):
    """A new file that this process has locked, readable to others only if the old one was not."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    for _ in range(TRIES):
        temporary = f"{start}{secrets.token_hex(8)}.tmp"
        try:
            descriptor = os.open(temporary, flags, 0o666 if before is None else 0o600)
        except FileExistsError:
            continue
        try:
            if fcntl is None:
                return temporary, descriptor
            with suppress(OSError):  # without locks, nobody removes the file either
                _retried(fcntl.flock, descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:  # otherwise it was removed before it was locked
                return temporary, descriptor
        except BaseException:
            with suppress(OSError):
                os.remove(temporary)
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise FileExistsError(errno.EEXIST, "No temporary file could be made", start)


def _write(descriptor, data):
    rest = memoryview(data)
    while rest:
        written = os.write(descriptor, rest)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rest = rest[written:]


def _keep_mode(descriptor, before):
    """Give the new file owner, group and mode of the old one, but never more readers."""
    if before is None or not hasattr(os, "fchown"):
        return
    mode, now = stat.S_IMODE(before.st_mode), os.fstat(descriptor)
    for part, uid, gid in ((0o4000, before.st_uid, -1), (0o2000, -1, before.st_gid)):
        if (uid, gid) in ((now.st_uid, -1), (-1, now.st_gid)):
            continue
        try:
            os.fchown(descriptor, uid, gid)
        except OSError as error:
            if error.errno not in FOREIGN:
                raise
            mode &= ~part
            if part == 0o2000:  # for another group: no more than for everyone
                mode = mode & ~0o070 | (mode & 0o007) << 3
    try:
        os.fchmod(descriptor, mode)
    except OSError as error:
        if error.errno not in FOREIGN:
            raise


def _rename(temporary, path, descriptor):
    last = InterruptedError()
    for attempt in range(TRIES):
        try:
            return os.replace(temporary, path)
        except InterruptedError as error:
            last = error
        except FileNotFoundError:
            if not attempt or not _is_at(path, descriptor):
                raise
            return None  # the interrupted call had done it
    if not _is_at(path, descriptor):
        raise last


def _is_at(path, descriptor):
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except (OSError, TypeError):
        return False


def _remove_orphans(folder, start):
    """Remove temporary files for this name that no process has locked."""
    if fcntl is None:
        return
    try:
        pattern = re.compile(re.escape(start) + r"[0-9a-f]{16}\.tmp")
        names = [name for name in os.listdir(folder or ".") if pattern.fullmatch(name)]
    except OSError:  # the folder may be written to but not listed
        return
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
    for name in names:
        orphan = os.path.join(folder, name)
        with suppress(OSError):
            descriptor = os.open(orphan, flags)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    os.remove(orphan)
            finally:
                os.close(descriptor)


def _sync_folder(folder):
    """Force a folder's entries to the disk, where the system can; the file is there in any case."""
    if os.name != "posix":
        return
    with suppress(OSError):
        descriptor = os.open(folder or ".", os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
