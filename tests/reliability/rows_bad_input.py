"""X-01: bad input for every argument of every public callable."""

import itertools
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from charter import TREE, Broken, kept_by, row

import fastreg


def swept():
    """The sweep's module; its tables are imported when they are needed."""
    folder = str(TREE / "tests" / "sweeps")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    import test_errors

    return test_errors


def written_before_it_is_refused(patch):
    """A callable that changes an array and then refuses another argument."""
    plain = fastreg.SGD.update

    def update(self, params, grads):
        try:
            plain(self, params, grads)
        except (TypeError, ValueError):
            if isinstance(params, dict):
                for value in params.values():
                    value[...] = 0
            raise

    patch.setattr(fastreg.SGD, "update", update)


def unnamed(patch):
    """An error that names neither the callable nor the argument."""

    plain = fastreg.EarlyStopping.__init__

    def init(self, *arguments, **options):
        try:
            plain(self, *arguments, **options)
        except (TypeError, ValueError):
            raise ValueError("bad value") from None

    patch.setattr(fastreg.EarlyStopping, "__init__", init)


def values(sweep, call, most):
    for name, (valid, _) in call.arguments.items():
        for label, value in itertools.islice(sweep.values_for(valid).items(), max(0, most)):
            yield name, label, value


@row(
    "X-01",
    "bad input for every argument of every public callable: a TypeError or ValueError that names both, nothing changed, nothing warned",
    "bad calls",
    full=71_000,
    planted=71_000,
    slow=True,
    faults=(written_before_it_is_refused, unnamed),
)
def bad_calls(n):
    """As many of the sweep's calls as ``n`` of all its arguments' values, all if fewer."""
    sweep, count, faults = swept(), 0, []
    before = os.getcwd()
    sweep.test_every_argument_of_every_public_callable_is_swept()
    for call in sweep.CALLS:
        if call.package:
            continue
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                sweep.write_files(Path(folder))
                for name, label, value in values(sweep, call, n - count):
                    found = sweep.fault(call, name, label, value)
                    count += 1
                    if found:
                        faults.append(f"{call.where}({name}={label}) {found}")
            finally:
                os.chdir(before)
        if faults:
            raise Broken("\n".join(faults[:20]))
    return count


def draws_first(patch):
    """A layer that draws a number before it looks at its arguments."""
    plain = fastreg.Dropout.forward

    def forward(self, *arguments, **how):
        np.random.random()
        return plain(self, *arguments, **how)

    patch.setattr(fastreg.Dropout, "forward", forward)


kept_by(
    "C-10",
    "all or nothing: what is refused, arguments, states and files, changes no array, no state and no generator",
    "tests/sweeps/test_errors.py::test_bad_arguments_are_refused_by_name",
    "tests/optim/test_bad_updates.py",
    times=1,
    faults=(draws_first,),
    slow=True,
)
