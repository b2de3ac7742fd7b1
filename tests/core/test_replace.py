"""Files replaced as a whole: modes, links, names, and every system call failing in turn."""

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
from contextlib import suppress
from pathlib import Path
from unittest import mock

import pytest

from fastreg._core import replace
from fastreg._core.replace import replace_file

if os.name != "posix":
    pytest.skip("modes, links and locks of POSIX", allow_module_level=True)

CALLS = ["stat", "readlink", "listdir", "open", "write", "fstat", "fchown", "fchmod", "fsync"]
CALLS += ["close", "replace", "remove"]
ERRNOS = [errno.EIO, errno.ENOSPC, errno.EINTR, errno.EPERM, errno.EINVAL, errno.ENOENT]
ERRNOS += [errno.EACCES, errno.EDQUOT]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


class Fault:
    """Let the call number ``at`` of a function of `os` fail, before or after its work."""

    def __init__(self, name, at, error, after=False):
        self.name, self.at, self.error, self.after = name, at, error, after
        self.real, self.calls = getattr(os, name), 0

    def __call__(self, *arguments, **options):
        self.calls += 1
        hit = self.calls == self.at
        if hit and not self.after:
            if self.name == "close":  # the system has closed it whatever it says
                self.real(*arguments, **options)
            raise self.error
        result = self.real(*arguments, **options)
        if hit:
            raise self.error
        return result

    def save(self, path, data):
        """Write a file with the fault in place; return the error that came."""
        with mock.patch.object(os, self.name, self):
            try:
                replace_file(str(path), data)
            except (OSError, KeyboardInterrupt, MemoryError) as error:
                return error
        return None


def counted(name, path):
    """How often a save calls a function."""
    fault = Fault(name, 0, None)
    assert fault.save(path, b"old") is None
    return fault.calls


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("name", CALLS)
def test_the_old_file_is_untouched_at_every_error(name, exists, path):
    old = b"old" if exists else None
    path.write_bytes(b"old")
    path.chmod(0o640)
    n = counted(name, path)
    assert n or name in ("fchown", "remove")
    errors = [OSError(number, os.strerror(number)) for number in ERRNOS]
    for at in range(1, n + 1):
        for error in [*errors, KeyboardInterrupt(), MemoryError()]:
            path.unlink(missing_ok=True)
            if exists:
                path.write_bytes(b"old")
                path.chmod(0o640)
            inode = path.stat().st_ino if exists else None
            raised = Fault(name, at, error).save(path, b"new")
            found = path.read_bytes() if path.exists() else None
            where = f"{name} {at}: {error!r}"
            if isinstance(raised, OSError):
                assert found == old, where
                assert not exists or path.stat().st_ino == inode, where
                assert not exists or stat.S_IMODE(path.stat().st_mode) == 0o640, where
            elif raised is None:
                assert found == b"new", where
            else:
                assert found in (old, b"new"), where
            left = set(os.listdir(path.parent)) - {path.name}
            assert not left or name in ("close", "open", "fstat"), where
            replace_file(str(path), b"again")  # nothing is in the way of the next
            assert path.read_bytes() == b"again"
            assert os.listdir(path.parent) == [path.name], where


def test_a_call_that_a_signal_interrupts_is_made_again(path):
    path.write_bytes(b"old")
    interrupted = InterruptedError(errno.EINTR, "interrupted")
    for name, after in (("stat", 0), ("replace", 0), ("replace", 1), ("close", 0), ("readlink", 0)):
        assert Fault(name, 1, interrupted, after).save(path, b"new") is None, (name, after)
        assert path.read_bytes() == b"new"
        assert os.listdir(path.parent) == [path.name]


def test_a_call_that_is_always_interrupted_ends(path, monkeypatch):
    path.write_bytes(b"old")

    def interrupted(*arguments):
        raise InterruptedError(errno.EINTR, "interrupted")

    for name in ("stat", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, interrupted)
            with pytest.raises(InterruptedError):
                replace_file(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


def test_short_writes_go_on_and_a_write_of_nothing_is_an_error(path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    replace_file(str(path), bytes(range(100)))
    assert path.read_bytes() == bytes(range(100))
    monkeypatch.setattr(os, "write", lambda descriptor, data: 0)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        replace_file(str(path), b"new")
    assert path.read_bytes() == bytes(range(100))


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO, errno.EBADF])
def test_a_folder_that_cannot_be_forced_to_the_disk_is_no_error(number, path):
    path.write_bytes(b"old")
    assert Fault("fsync", 2, OSError(number, "no")).save(path, b"new") is None
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_modes_are_kept_and_new_files_follow_the_umask(umask, path):
    before = os.umask(umask)
    try:
        replace_file(str(path), b"new")
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
        for mode in (0o600, 0o664, 0o444, 0o000, 0o755, 0o640):
            path.chmod(mode)
            replace_file(str(path), b"newer")
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)


def test_a_file_is_private_from_its_first_byte_on(path, monkeypatch):
    path.write_bytes(b"old")
    path.chmod(0o600)
    write, modes = os.write, []

    def watched(descriptor, data):
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", watched)
    replace_file(str(path), b"new")
    assert modes == [0o600]


def as_nobody(code, *arguments):
    """Run code as a user without rights, imports done; return what it prints."""
    text = "import os, sys, stat\nfrom fastreg._core.replace import replace_file\n"
    if os.geteuid() == 0:
        text += "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    ran = subprocess.run(
        [sys.executable, "-c", text + textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    assert not ran.returncode, ran.stderr
    return ran.stdout.strip()


@pytest.fixture
def shared():
    """A folder that everyone may write to, below one that everyone may enter: whoever starts pytest
    meanwhile shuts the one above `tmp_path` to others."""
    with tempfile.TemporaryDirectory() as above:
        os.chmod(above, 0o755)
        folder = Path(above, "shared")
        folder.mkdir()
        folder.chmod(0o777)
        yield folder


def test_a_folder_that_may_be_written_but_not_listed(shared):
    shared.chmod(0o333)
    as_nobody(
        "replace_file(sys.argv[1], b'new'); replace_file(sys.argv[1], b'newer')", shared / "f"
    )
    shared.chmod(0o777)
    assert os.listdir(shared) == ["f"] and (shared / "f").read_bytes() == b"newer"


def test_a_folder_that_may_not_be_written_keeps_its_file(shared):
    (shared / "f").write_bytes(b"old")
    shared.chmod(0o555)
    as_nobody(
        """
        try:
            replace_file(sys.argv[1], b"new")
        except PermissionError:
            pass
        else:
            raise SystemExit("written")
        """,
        shared / "f",
    )
    shared.chmod(0o777)
    assert os.listdir(shared) == ["f"] and (shared / "f").read_bytes() == b"old"


@pytest.mark.skipif(os.geteuid() != 0, reason="owners are changed by root only")
def test_owners_are_kept_where_they_may_be(shared):
    path = shared / "f"
    path.write_bytes(b"old")
    os.chown(path, 1234, 4321)
    path.chmod(0o640)
    replace_file(str(path), b"new")
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 4321, 0o640)
    as_nobody("replace_file(sys.argv[1], b'newer')", path)
    found = path.stat()
    assert (found.st_uid, found.st_gid) == (65534, 65534)
    assert stat.S_IMODE(found.st_mode) == 0o600  # its group may not read what the old one might
    assert path.read_bytes() == b"newer"


@pytest.mark.parametrize("n", [1, 200, 240, 255])
def test_names_as_long_as_the_system_takes(n, tmp_path):
    for name in ("x" * n, "ä" * (n // 2) + "x" * (n % 2), "\udcff" + "x" * (n - 1), "\n" * n):
        path = os.path.join(tmp_path, name)
        for data in (b"old", b"new"):
            replace_file(path, data)
        with open(path, "rb") as file:
            assert file.read() == b"new"
        assert os.listdir(tmp_path) == [name]
        os.remove(path)


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="Linux alone opens a folder to write in it")
@pytest.mark.parametrize("n", [3999, 4001, 4038, 4060, 4093])
def test_paths_as_long_as_the_system_takes(n, tmp_path):
    folder = str(tmp_path)
    while len(folder) < n:
        left = n - len(folder)  # a further name takes two characters or more
        folder = os.path.join(folder, "x" * (left - 1 if left <= 201 else min(200, left - 3)))
    os.makedirs(folder)
    path = os.path.join(folder, "y" * min(255, 4095 - len(folder) - 1))
    for data in (b"old", b"new"):
        replace_file(path, data)
    with open(path, "rb") as file:
        assert file.read() == b"new"
    assert os.listdir(folder) == [os.path.basename(path)]
    os.remove(path)


def test_errors_name_the_file_and_no_temporary_one(path):
    path.write_bytes(b"old")
    for name in ("open", "write", "fsync", "replace"):
        raised = Fault(name, 1, OSError(errno.EIO, "broken", ".tmp", None, "x")).save(path, b"new")
        assert str(raised) == f"[Errno {errno.EIO}] broken: {str(path)!r}", name
    with pytest.raises(FileNotFoundError, match="no-such/file"):
        replace_file(str(path.parent / "no-such/file"), b"new")


def test_what_is_no_regular_file_stays(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    os.mkdir(tmp_path / "folder")
    os.symlink("fifo", tmp_path / "link")
    with suppress(OSError):  # a device of its own, for what goes wrong here hits what it is given
        os.mknod(tmp_path / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket"))
        before = {name: os.lstat(tmp_path / name) for name in sorted(os.listdir(tmp_path))}
        for name, status in before.items():
            with pytest.raises(OSError, match=name):
                replace_file(str(tmp_path / name), b"new")
            assert os.path.samestat(os.lstat(tmp_path / name), status), name
        assert sorted(os.listdir(tmp_path)) == sorted(before)
    nameless = open(tmp_path / "nameless", "w+b")  # noqa: SIM115
    os.remove(tmp_path / "nameless")
    number = f"/dev/fd/{nameless.fileno()}"
    for special in (number, str(tmp_path) + "/", str(tmp_path / "folder/..")):
        with pytest.raises(OSError):  # noqa: B017, PT011
            replace_file(special, b"new")
    nameless.close()
    assert sorted(os.listdir(tmp_path)) == sorted(before)


def test_symbolic_links_are_followed_as_open_follows_them(tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/file").write_bytes(b"old")
    os.symlink("inner/file", tmp_path / "one")
    os.symlink("one", tmp_path / "two")
    os.symlink(tmp_path / "inner/other", tmp_path / "dangling")
    os.symlink("loop", tmp_path / "loop")
    replace_file(str(tmp_path / "two"), b"new")
    monkeypatch.chdir(tmp_path)
    replace_file("dangling", b"made")
    assert (tmp_path / "inner/file").read_bytes() == b"new"
    assert (tmp_path / "inner/other").read_bytes() == b"made"
    assert os.path.islink("one") and os.path.islink("two") and os.path.islink("dangling")
    with pytest.raises(OSError, match="loop"):
        replace_file("loop", b"new")
    assert sorted(os.listdir()) == ["dangling", "inner", "loop", "one", "two"]
    for i in range(41):
        os.symlink(f"link{i + 1}", f"link{i}")
    with open("link1", "ab"):  # as many links as Linux follows, and one more
        replace_file("link1", b"new")
    with pytest.raises(OSError, match="link0"):
        replace_file("link0", b"new")
    assert sorted(os.listdir("inner")) == ["file", "other"]


def test_a_name_that_another_process_has_taken_is_left_to_it(path, monkeypatch):
    """Another container may have this host name and this process id."""
    tokens, opened, theirs = iter(["0" * 16, "1" * 16]), os.open, []

    def taken(name, flags, *mode):
        if "0" * 16 in name and not theirs:
            theirs.append(path.with_name(os.path.basename(name)))
            theirs[0].write_bytes(b"theirs")
        return opened(name, flags, *mode)

    monkeypatch.setattr(replace.secrets, "token_hex", lambda n: next(tokens))
    monkeypatch.setattr(os, "open", taken)
    replace_file(str(path), b"new")
    assert path.read_bytes() == b"new" and theirs[0].read_bytes() == b"theirs"


WRITER = """
import os, sys, time
from fastreg._core import replace
def wait(*arguments):
    print("writing", flush=True)
    time.sleep(60)
replace._write = wait
replace.replace_file(sys.argv[1], b"other")
"""


def test_what_a_killed_process_left_is_removed_and_nothing_else(path):
    path.write_bytes(b"old")
    writer = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(writer, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        (other,) = set(os.listdir(path.parent)) - {path.name}
        alike = {
            other.replace(".tmp", ".bak"),
            other[:-6] + ".tmp",
            other.replace("-", "_"),
            ".fastreg-" + "0" * 16 + other[25:],
        }
        for name in alike:
            path.with_name(name).write_bytes(b"not ours")
        replace_file(str(path), b"new")  # while the other is at work
        assert set(os.listdir(path.parent)) == {path.name, other} | alike
        process.send_signal(signal.SIGKILL)
        process.wait()
    replace_file(str(path), b"newer")
    assert set(os.listdir(path.parent)) == {path.name} | alike
    assert path.read_bytes() == b"newer"


def test_a_file_removed_before_it_was_locked_is_made_anew(path, monkeypatch):
    flock, removed = replace.fcntl.flock, []

    def late(descriptor, how):
        if not removed:
            removed.extend(set(os.listdir(path.parent)))
            os.remove(path.with_name(removed[0]))
        return flock(descriptor, how)

    monkeypatch.setattr(replace.fcntl, "flock", late)
    replace_file(str(path), b"new")
    assert removed and path.read_bytes() == b"new"


def test_without_locks_nothing_is_removed_and_saving_works(path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(replace.fcntl, "flock", refuse)
    monkeypatch.setattr(replace.secrets, "token_hex", lambda n: "0" * 16)
    seen = []
    monkeypatch.setattr(replace, "_write", lambda *a: seen.extend(os.listdir(path.parent)))
    replace_file(str(path), b"")
    left = path.with_name(seen[0])
    left.write_bytes(b"of another")
    monkeypatch.setattr(replace.secrets, "token_hex", lambda n: "1" * 16)
    replace_file(str(path), b"")
    assert left.read_bytes() == b"of another"
