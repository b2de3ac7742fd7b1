"""Every argument of every public callable, in turn replaced by values of every kind.

A value that is right works; any other is refused by a TypeError or a ValueError that names the
callable and the argument, without a warning, and nothing has changed.
"""

import copy
import inspect
import threading
import types
import warnings

import numpy as np
import pytest
from bad_values import bad_values, spoiled
from frozen import frozen, write_files
from public_calls import CALLS

import fastreg
from fastreg import (
    averages,
    callbacks,
    checkpoint,
    data,
    export,
    history,
    metrics,
    nn,
    schedule,
    train,
)
from fastreg.lab import data as lab_data


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """A folder with a file of each kind, in which words are names of files that are not there."""
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)


def global_state():
    _, words, place, *_ = np.random.get_state()
    return words.tobytes(), place, threading.active_count()


def valid_arguments(call):
    return {name: copy.deepcopy(value) for name, (value, _) in call.arguments.items()}


def values_for(valid):
    return bad_values() | (spoiled(valid) if isinstance(valid, np.ndarray) else {})


def fault(call, name, label, value):
    """Return what is wrong with how a call takes a value, or None."""
    kind = call.arguments[name][1]
    try:
        right = kind(value)
    except Exception as error:
        return f"the table's kind fails: {error!r}"
    if right is ...:
        return None
    right = right if right is None else bool(right)
    function, arguments = call.make(), valid_arguments(call)
    arguments[name] = value
    watched = function, arguments
    before, world = frozen(watched), global_state()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            function(**arguments)
        except Exception as error:
            raised = error
        else:
            raised = None
    if caught:
        return f"warns: {caught[0].message}"
    if raised is None:
        return "is taken" if right is False else None
    if isinstance(raised, call.errors) and right is not False:
        return None
    said = f"{type(raised).__name__}: {str(raised)[:300]}"
    if right:
        return f"is refused; {said}"
    if type(raised) not in (TypeError, ValueError, *call.errors):
        return f"raises {said}"
    if call.says not in str(raised):
        return f"does not name {call.says}; {said}"
    if not any(word in str(raised) for word in (name, *call.also.get(name, ()))):
        return f"does not name {name}; {said}"
    if len(str(raised)) > 1000:
        return f"says too much; {said}"
    if frozen(watched) != before:
        return f"changes something; {said}"
    if global_state() != world:
        return f"draws a random number; {said}"
    return None


@pytest.mark.parametrize("call", CALLS, ids=repr)
def test_valid_arguments_are_taken(call):
    call.package and pytest.importorskip(call.package)
    arguments = valid_arguments(call)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call.make()(**arguments)


@pytest.mark.parametrize("call", CALLS, ids=repr)
def test_bad_arguments_are_refused_by_name(call, capsys):
    call.package and pytest.importorskip(call.package)
    faults = []
    for name, (valid, _) in call.arguments.items():
        for label, value in values_for(valid).items():
            found = fault(call, name, label, value)
            if found:
                faults.append(f"{call.where}({name}={label}) {found}")
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults)


# --- completeness ---------------------------------------------------------------------------------

MODULES = [
    ("", fastreg),
    ("", nn),
    ("", train),
    ("", callbacks),
    ("", averages),
    ("schedule.", schedule),
    ("data.", data),
    ("checkpoint.", checkpoint),
    ("metrics.", metrics),
    ("history.", history),
    ("export.", export),
    ("lab.data.", lab_data),
]
#: What takes no argument of a user, and records that the library makes.
LEFT_OUT = {
    "cache",
    "with_options",
    "Optimizer",
    "Dataset",
    "Source",  # protocols
    "Batches",
    "CheckpointError",
    "TensorBoard",  # and drawings: they need an extra; tests/train tries them with stand-ins
    "plot",
    "Callback",
    "Problem",
    "fingerprint",
    "renew_lock",
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_train_begin",
    "on_train_end",
}


def public_callables():
    """The name and the parameters of everything public that takes an argument."""
    for prefix, module in MODULES:
        for name in module.__all__:
            thing = getattr(module, name)
            if callable(thing) and name not in LEFT_OUT:
                yield prefix + name, thing
                if isinstance(thing, type):
                    yield from methods(prefix + name, thing)


def methods(name, cls):
    for attribute in dir(cls):
        if attribute in LEFT_OUT or (attribute.startswith("_") and attribute != "__call__"):
            continue
        found = inspect.getattr_static(cls, attribute)
        if isinstance(found, property) and found.fset:
            yield f"{name}.{attribute}=", None
        elif isinstance(found, (types.FunctionType, classmethod)):
            yield f"{name}.{attribute}", found


def parameters(thing):
    thing = thing.__func__ if isinstance(thing, classmethod) else thing
    kept = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    signature = inspect.signature(thing).parameters.values()
    return {p.name for p in signature if p.kind in kept} - {"self", "cls"}


def test_every_argument_of_every_public_callable_is_swept():
    table = {call.where: call for call in CALLS}
    missing = []
    for name, thing in public_callables():
        wanted = {"value"} if thing is None else parameters(thing)
        if wanted:
            known = table[name].arguments if name in table else {}
            missing += [f"{name}({argument})" for argument in sorted(wanted - set(known))]
    assert not missing
