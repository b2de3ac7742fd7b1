"""C: checkpoints, and what a run keeps in them."""

import os
import random
import signal
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
from charter import Broken, kept_by, row

from fastreg import checkpoint, stopping
from fastreg._core import replace

try:
    import fcntl
except ImportError:  # the page is made on any system
    fcntl = None

POSIX = lambda: "" if hasattr(os, "fork") else "no fork on this system"  # noqa: E731
#: All functions of `os` that a save calls where the owner stays the same, and one of `fcntl`.
CALLS = ("stat", "readlink", "listdir", "open", "write", "fstat", "fchmod", "fsync", "close")
CALLS += ("replace", "remove", "flock")


def state(i, n=3000):
    return {"array": np.arange(float(n)) + i, "i": i}


def whole(path):
    """The number of the state in a file, if it is one of ours, complete."""
    try:
        found = checkpoint.load(path)
    except checkpoint.CheckpointError as error:
        raise Broken(str(error)) from None
    if not np.array_equal(found["array"], np.arange(float(len(found["array"]))) + found["i"]):
        raise Broken("a mixture of two states")
    return found["i"]


def child(work):
    """The id of a forked process that works, and ends with 0 if nothing was raised."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def in_place(patch):
    """Files written where they stand."""

    def written(folder, name, data, before):
        with open(os.path.join(folder, name), "wb", buffering=0) as file:
            for place in range(0, len(data), 4096):
                os.write(file.fileno(), data[place : place + 4096])

    patch.setattr(replace, "_replace", written)


def bits_lost(patch):
    """Numbers read back one bit off."""
    plain = checkpoint.decode

    def decode(data):
        def off(tree):
            if isinstance(tree, dict):
                return {key: off(value) for key, value in tree.items()}
            if isinstance(tree, np.ndarray) and tree.dtype.kind == "f":
                return np.nextafter(tree, tree.dtype.type(9))
            return tree

        return off(plain(data))

    patch.setattr(checkpoint, "decode", decode)


kept_by(
    "C-01",
    "a run saved at any of its 40 steps and taken up, here or in a new process, ends with the same bits",
    "tests/train/test_resume.py::test_a_run_taken_up_at_any_step_ends_with_the_same_bits",
    "tests/train/test_resume.py::test_a_run_taken_up_by_a_new_process_ends_with_the_same_bits",
    "tests/train/test_resume.py::test_every_optimizer_goes_on_with_the_same_bits",
    lacks="runs of 200 steps, and each of the six experiments (C-01b has others)",
    times=5,
    slow=True,
    faults=(bits_lost,),
)


def over_itself(patch):
    """Files written where they stand, without being cut first."""

    def written(folder, name, data, before):
        with open(os.path.join(folder, name), "rb+" if before else "wb", buffering=0) as file:
            for place in range(0, len(data), 4096):
                os.write(file.fileno(), data[place : place + 4096])

    patch.setattr(replace, "_replace", written)


def gives_up(patch):
    """A save that fails in any process but this."""
    plain, here = replace._replace, os.getpid()

    def written(*arguments):
        if os.getpid() != here:
            raise OSError("given up")
        plain(*arguments)

    patch.setattr(replace, "_replace", written)


def killed_at(path, name, at, after):
    """Save in a process that kills itself at a call of a function; whether that call was made.

    Where it was not, the save must have ended well, and the new state must be there.
    """

    def work():
        home = fcntl if name == "flock" else os
        real, calls = getattr(home, name), 0

        def deadly(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == at and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return real(*arguments, **options)
            finally:  # what readlink says of a plain file is an error
                if calls == at:
                    os.kill(os.getpid(), signal.SIGKILL)

        setattr(home, name, deadly)
        checkpoint.save(path, state(2))

    status = os.waitstatus_to_exitcode(os.waitpid(child(work), 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise Broken(f"a save that nobody killed ended with {status}, before {name} {at}")
    if not status and whole(path) != 2:
        raise Broken(f"a save ended well, and {whole(path)} is there")
    return status != 0


def killed_everywhere(path):
    """A kill before and one after every call of a save, and how many there were.

    Each save finds the old state, and what a process killed before its rename has left.
    """
    done, unmade = 0, []
    for name in CALLS:
        for after in (False, True):
            at = 0
            while True:
                killed_at(path, "replace", 1, after=False)
                path.write_bytes(checkpoint.encode(state(1)))
                at += 1
                if not killed_at(path, name, at, after):
                    break
                if whole(path) not in (1, 2):
                    raise Broken(f"{name} {at}")
            unmade += [name] * (at == 1)
            done += at - 1
    if unmade:
        raise Broken(f"a save has no call of {unmade}")
    return done


@row(
    "C-02",
    f"a process killed before or after any call of a save ({', '.join(CALLS)}), or at any moment, leaves the old file or the new",
    "kills",
    full=10_000,
    short=150,
    planted=1,  # the calls alone, without moments
    faults=(in_place, over_itself, gives_up),
    needs=POSIX,
)
def killed(n):
    """Every call once, and the rest at random moments."""
    pick = random.Random()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        checkpoint.save(path, state(1))
        done = killed_everywhere(path)
        while done < n:

            def saving():
                for i in range(10**9):
                    checkpoint.save(path, state(i))

            pid = child(saving)
            threading.Event().wait(pick.uniform(0.0005, 0.01))
            os.kill(pid, signal.SIGKILL)
            if not os.WIFSIGNALED(os.waitpid(pid, 0)[1]):
                raise Broken("a save failed before it was killed")
            whole(path)
            done += 1
        checkpoint.save(path, state(0))
        if os.listdir(folder) != ["run"]:
            raise Broken("what the killed left is still there")
    return done


kept_by(
    "C-04",
    "a system call of a save that fails raises and leaves the old file; one that a signal interrupts is made again",
    "tests/core/test_replace.py::test_the_old_file_is_untouched_at_every_error",
    "tests/core/test_replace.py::test_a_call_that_a_signal_interrupts_is_made_again",
    "tests/core/test_replace.py::test_short_writes_go_on_and_a_write_of_nothing_is_an_error",
    times=20,
    faults=(in_place,),
    needs=POSIX,
)


@row(
    "C-05",
    "eight processes save to one path while it is read: no save fails, no file is torn",
    "saves",
    full=8_000,
    short=200,
    faults=(in_place,),
    needs=POSIX,
)
def crowded(n):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        checkpoint.save(path, state(0, 30_000))

        def saving():
            for i in range(n // 8):
                checkpoint.save(path, state(i, 30_000))

        left = [child(saving) for _ in range(8)]
        torn = None
        while left:
            try:
                whole(path)
            except Broken as error:
                torn = error
            pid, status = os.waitpid(left[0], os.WNOHANG)
            if pid:
                left.pop(0)
                torn = Broken("a save failed") if status else torn
        if torn:
            raise torn
    return n // 8 * 8


def refused(data):
    try:
        checkpoint.decode(data)
    except checkpoint.CheckpointError:
        return
    except Exception as error:
        raise Broken(repr(error)) from error
    raise Broken("a damaged file was taken")


def sum_unread(patch):
    """A reader that does not look at the checksum."""
    patch.setattr(checkpoint, "_check_sum", lambda *what: None)


@row(
    "C-06",
    "headers (and of one file in ten any part) cut, doubled, exchanged, with other numbers: refused as a CheckpointError",
    "mutants",
    lacks="50 million mutants, the memory and the time that each takes, and the address sanitizer beside them",
    full=10_000_000,
    short=5_000,
    planted=20_000,
    faults=(sum_unread,),
)
def mutants(n):
    pick, data = random.Random(), bytes(checkpoint.encode(state(3, 40)))
    header = 8 + int.from_bytes(data[:8], "little")
    for _ in range(n):
        mutant, kind = bytearray(data), pick.randrange(5)
        end = header if pick.random() < 0.9 else len(data)
        a, b = sorted(pick.choices(range(end), k=2))
        if kind == 0:
            del mutant[a : a + pick.randrange(1, 30)]
        elif kind == 1:
            mutant[a:a] = mutant[a : a + pick.randrange(1, 30)]
        elif kind == 2:
            mutant[a : a + 8], mutant[b : b + 8] = mutant[b : b + 8], mutant[a : a + 8]
        elif kind == 3:
            mutant[:8] = pick.choice((0, 1, len(data), 2**31, 2**63 - 1, a)).to_bytes(8, "little")
        else:
            digits = [k for k, byte in enumerate(data[:end]) if 48 <= byte <= 57]
            mutant[pick.choice(digits)] = pick.choice(b"0123456789-e.")
        if mutant != data:
            refused(bytes(mutant))
    return n


@row(
    "C-07",
    "every single bit that flips in a file, every truncation, and random edits of several bytes are noticed, in twelve files of 1 to 2,048 numbers",
    "damaged files",
    full=2_000_000,
    short=6_000,
    faults=(sum_unread,),
)
def rotten(n):
    """Half of them as many as there are, of files of ever more numbers; then edits of these."""
    pick, done, files = random.Random(), 0, []
    while done < n / 2 and len(files) < 12:
        files.append(bytes(checkpoint.encode(state(len(files), 1 << len(files)))))
        for place in range(len(files[-1])):
            refused(files[-1][:place])
            for bit in range(8):
                damaged = bytearray(files[-1])
                damaged[place] ^= 1 << bit
                refused(bytes(damaged))
        done += 9 * len(files[-1])
    for k in range(n // 2):
        damaged = bytearray(files[k % len(files)])
        for _ in range(pick.randrange(2, 40)):
            damaged[pick.randrange(len(damaged))] = pick.randrange(256)
        if damaged != files[k % len(files)]:
            refused(bytes(damaged))
    return done + n // 2


def evaluated(patch):
    """A reader that evaluates something."""
    plain = checkpoint._bytes

    def read(path):
        return eval("plain(path)", {"plain": plain, "path": path})

    patch.setattr(checkpoint, "_bytes", read)


def asks_the_system(patch):
    """A reader that starts a process."""
    plain = checkpoint._bytes

    def read(path):
        os.system("true")
        return plain(path)

    patch.setattr(checkpoint, "_bytes", read)


@row(
    "C-08",
    "loading opens the file, and no other event reaches an audit hook: no import, no code, no process",
    "loads",
    full=10_000,
    short=20,
    faults=(evaluated, asks_the_system),
    needs=POSIX,
)
def watched(n):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "run")
        checkpoint.save(path, state(0))
        whole(path)  # what it imports is there

        def work():
            seen = set()

            def hook(event, arguments):
                if event != "open" or arguments[0] != path or arguments[2] & os.O_ACCMODE:
                    seen.add(event)

            sys.addaudithook(hook)
            for _ in range(n):
                checkpoint.load(path)
            if seen:
                raise Broken(str(seen))

        if os.waitpid(child(work), 0)[1]:
            raise Broken("something else was done")
    return n


def nan_for_best(patch):
    """Early stopping that takes a loss that is no number for 0."""
    plain = stopping.EarlyStopping.__call__

    def call(self, loss, *rest, **options):
        return plain(self, 0.0 if loss != loss else loss, *rest, **options)

    patch.setattr(stopping.EarlyStopping, "__call__", call)


kept_by(
    "C-11",
    "early stopping does what the rule says on all 6⁸ tapes of eight epochs (in the suite 6⁶ of six), with patience 0 to 4",
    "tests/test_stopping.py::test_every_tape_against_the_oracle",
    times=1,
    environment={"FASTREG_TEST_EPOCHS": "8"},
    faults=(nan_for_best,),
)
