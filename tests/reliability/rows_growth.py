"""M-02: what a call took it has given back, after it succeeded and after it refused."""

import contextlib
import ctypes
import gc
import importlib.util
import itertools
import os
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from charter import Broken, row
from rows_bad_input import swept

import fastreg

WARM = 12  # rounds before anything is counted: imports, caches and the pool fill
#: A growth is one only if the same number of rounds brings as much again, so often.
ATTEMPTS = 5
#: A hundred times as long as the others; a tenth of the rounds is done.
LONG = ("lab.experiment",)
#: A huge number of these is no mistake, and a call with it would never end.
ENDLESS = ("epochs", "rounds", "steps", "steps_per_epoch")
#: Not called here, and why.
LEFT_OUT = {
    "data.from_frame": "pandas keeps weak references to views, and looks through them ever later",
    "export.npz": "zipfile and NumPy keep caches of their own by name",
    "export.onnx": "onnx is a package of its own",
    "export.torch": "torch keeps what it likes",
    "export.torch_state": "as export.torch",
    "export.from_torch": "as export.torch",
    "set_num_threads": "sets what every other call runs with",
}
SINGLE = (None, True, False, (), "", 0, 1, Ellipsis, NotImplemented, float, int, bool, str, dict)
SINGLE += (list, tuple, np.ndarray, np.dtype("f4"), np.dtype("i8"), np.dtype("?"), np.float64)
SINGLE += (TypeError, ValueError, fastreg.Adam, fastreg.Dropout)
# Not float64's dtype: NumPy's own np.ones(3) and np.zeros(3) keep a reference to it every time.


class Heap(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keep",
        ]
    ]


def heap_of():
    """A function of the bytes that malloc has given out, or None where glibc does not say."""
    try:
        read = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError):
        return None
    read.restype = Heap
    return lambda: (lambda now: now.uordblks + now.hblkhd)(read())


HEAP = heap_of()


def held():
    """Blocks of Python, bytes of malloc, and references to what lives as long as the process."""
    sys.stdout.flush()  # what is printed waits there
    gc.collect()
    sys._clear_type_cache()  # which keeps names that were looked up
    fastreg.empty_cache()
    references = [sys.getrefcount(one) for one in SINGLE]
    return sys.getallocatedblocks(), HEAP() if HEAP else 0, *references


def grown(before, after, rounds):
    """What has grown by more than 8 blocks, 9 references or some KB, or None.

    What one of a hundred rounds leaves behind is more than that in a thousand: a refusal has its own
    turn, of one argument and one bad value. malloc keeps some KB of what was freed at hand, and counts
    it as given out.
    """
    names = ["blocks", "bytes", *(f"references to {one!r}" for one in SINGLE)]
    least = [8, 8192 + rounds, *[8] * len(SINGLE)]
    for name, old, new, limit in zip(names, before, after, least, strict=True):
        if new - old > limit:
            return f"{new - old:+,} {name}"
    return None


def succeed(call, copied):
    with contextlib.suppress(AttributeError, RuntimeError):  # a property this object has not
        call.make()(**copied(call))


def refuse(call, copied, turn, bad):
    """The call with one argument that is of the wrong kind, another in each round."""
    names = list(call.arguments)
    if not names:
        return
    name = names[turn % len(names)]
    value = bad[turn // len(names) % len(bad)]
    if name in ENDLESS and isinstance(value, int):
        value = -value
    function, arguments = call.make(), copied(call) | {name: value}
    with contextlib.suppress(Exception):
        function(**arguments)


def looped(call, path, rounds, copied, bad):
    for k in range(rounds):
        if path == "success":
            succeed(call, copied)
        else:
            refuse(call, copied, k, bad)


def growth(call, path, rounds, copied, bad):
    """What a call leaves behind every time, or None."""
    looped(call, path, min(rounds, WARM), copied, bad)
    found = None
    for _ in range(ATTEMPTS):
        before = held()
        looped(call, path, rounds, copied, bad)
        found = grown(before, held(), rounds)
        if found is None:
            return None
    return found


def kept_block(patch):
    """Every step leaves an object behind."""
    plain, kept = fastreg.SGD.update, []

    def update(self, params, grads):
        kept.append(object())
        return plain(self, params, grads)

    patch.setattr(fastreg.SGD, "update", update)


def kept_error(patch):
    """An error is kept with all that its frames hold, for ever."""
    plain, kept = fastreg.SGD.update, []

    def update(self, params, grads):
        try:
            return plain(self, params, grads)
        except (TypeError, ValueError) as error:
            kept.append(error)
            raise

    patch.setattr(fastreg.SGD, "update", update)


def kept_reference(patch):
    """A reference to None that is never given back, as a missing Py_DECREF does."""
    plain = fastreg.SGD.update

    def update(self, params, grads):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(None))
        return plain(self, params, grads)

    patch.setattr(fastreg.SGD, "update", update)


def kept_memory(patch):
    """Memory of C that is never freed."""
    plain, take = fastreg.SGD.update, ctypes.CDLL(None).malloc
    take.restype = ctypes.c_void_p

    def update(self, params, grads):
        take(1000)
        return plain(self, params, grads)

    patch.setattr(fastreg.SGD, "update", update)


@row(
    "M-02",
    "blocks of Python, bytes of malloc and references to None, types and small numbers do not grow over 1,000 repeats of every public call, each with its object made anew, whether it succeeds or refuses an argument",
    "repeats of each call",
    lacks="the count of all references that a debug interpreter has, the leak sanitizer, and seven calls whose other libraries keep what they like",
    full=1_000,
    short=24,
    slow=True,
    faults=(kept_block, kept_error, kept_reference, kept_memory),
)
def flat(n):
    """n rounds of each call and path."""
    swept()
    import starve
    from frozen import write_files

    bad = [object(), "x", -1.5, float("nan"), None, [], {"a": "x"}, np.ones(3, "c8"), 10**5000]
    home = os.getcwd()
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.callback(gc.unfreeze)
        stack.callback(os.chdir, home)
        os.chdir(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        warnings.simplefilter("ignore")
        write_files(Path.cwd())
        gc.freeze()  # what is imported is not looked through at every count
        for call, path in itertools.product(starve.all_calls(), ("success", "error")):
            if call.where in LEFT_OUT or not installed(call):
                continue
            rounds = max(2, n // 10) if call.where.startswith(LONG) else n
            found = growth(call, path, rounds, starve.arguments_of, bad)
            if found:
                raise Broken(f"{call.where}, {path}: {found} in {rounds} rounds")
    return n


def installed(call):
    return not call.package or importlib.util.find_spec(call.package) is not None
