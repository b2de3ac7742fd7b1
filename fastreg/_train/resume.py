"""A training run as a tree for `fastreg.checkpoint`, and back."""

from __future__ import annotations

import functools
import inspect
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core.checks import flag, integer, shown
from fastreg._train.history import CLOCK, LISTS, begun, untimed
from fastreg._train.loop import marks
from fastreg.checkpoint import CheckpointError
from fastreg.nn.targets import link_of
from fastreg.schedule.family import members

if TYPE_CHECKING:
    from fastreg._core.types import PathLike, Saved

__all__ = ["check_cut", "has_state", "settings_of", "state_of", "take"]

COUNTERS = ("epoch", "batch", "step")
EVERY_EPOCH = {"learning_rate", "gradient_norm", "weight_norm", "near_zero"}
CUT = {"rows", "batch_size", "sample", "weights", "validation rows", "evaluate_training"}
OPTIONAL = {"epochs", "accumulate", "shards", "source"}  # there only if the run depends on it
LAST_STEP = {"learning_rate", "gradient_norm"}
STATE = {"model", "restored", "best_batches", "parts", "kinds", "settings", "rng", "cursor",
         "history"}  # fmt: skip
SILENT = {"rng", "verbose", "self"}  # arguments that do not influence a run
UNFIT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)  # of a foreign tree
TWIN = "reference."  # before the kind of a layer that is a twin, which keeps fewer settings
LARGEST = 4096  # elements of an array that is a setting


def state_of(run: Any) -> Any:
    """Return everything that the rest of the run depends on.

    What the clock said is not in it, so that a run's file has the same bytes wherever it ran.
    """
    for method in ("state_dict", "load_state_dict"):
        if not hasattr(run.optimizer, method):
            name = type(run.optimizer).__name__
            raise TypeError(f"Trainer.save: optimizer must have {method}, got {name}")
    if run._broken:
        raise RuntimeError(
            f"Trainer.save: {run._broken}, and the state is no whole step; take up an earlier "
            "file, or begin again with fit"
        )
    parts = _parts(run)
    cursor = {name: getattr(run, name) for name in COUNTERS}
    restored = _has_best(run)
    return {
        "model": run._ahead if restored else run.model.state_dict(),
        "restored": restored,
        "best_batches": list(run._best_batches),
        "parts": {name: run._team.state_of(part) for name, part in parts.items()},
        "kinds": _kinds(parts),
        "settings": settings_of(run),
        "rng": run._rng_state,
        "cursor": {**cursor, "cut": run._cut, "so_far": untimed(run._so_far)},
        "history": untimed(run.history),
    }


def check_cut(path: PathLike, state: Saved, cut: Any) -> None:
    """Refuse a state whose run used other data, as far as numbers and shapes show."""
    cursor = state.get("cursor")
    cursor = cursor if isinstance(cursor, dict) else {}
    found = cursor.get("cut")
    begun = any(type(cursor.get(name)) is not int or cursor[name] for name in COUNTERS)
    same = json.dumps(found, default=repr) == json.dumps(cut)  # arrays have no one answer to !=
    if not same and (found is not None or begun):
        raise CheckpointError(f"{path}: saved by a run on {found}, which cannot go on with {cut}")


def take(run: Any, path: PathLike, state: Saved, *, going_on: bool = False) -> None:
    """Take over a state, or change nothing and say what does not fit.

    A run that is ``going_on`` begins with the weights of the last step, not with the best.
    """
    parts = _parts(run)
    before = run.model.state_dict(), {name: part.state_dict() for name, part in parts.items()}
    order, own = run.rng.bit_generator.state, dict(vars(run))
    try:
        _check_names("the file", state, STATE)
        if state["kinds"] != _kinds(parts):
            raise ValueError(f"it holds the state of {state['kinds']}, not of {_kinds(parts)}")
        _check_names("parts", state["parts"], set(parts))
        _check_tree("rng", state["rng"], order)
        cursor = state["cursor"]
        _check_names("cursor", cursor, {*COUNTERS, "cut", "so_far"})
        numbers = [integer("Trainer.load", name, cursor[name], low=0) for name in COUNTERS]
        steps, validated = _check_place(cursor["cut"], *numbers)
        history = _history(state["history"], cursor["epoch"], _columns(run, validated))
        restored = flag("Trainer.load", "restored", state["restored"])
        seeing = bool(run._measures) and not (cursor["cut"] or {}).get("evaluate_training")
        so_far = _so_far(cursor["so_far"], cursor["batch"], steps, seeing)
        batches = [integer("Trainer.load", "best_batches", n, low=0) for n in state["best_batches"]]
        _load(run, parts, state["model"], state["parts"])
        _check_best(run)
        _check_slots(run, state["parts"]["optimizer"])
        if cursor["cut"] is not None:
            _check_epochs(run, cursor["epoch"], batches)
        _check_settings(state["settings"], settings_of(run))
        run.rng.bit_generator.state = state["rng"]
        run._begin()
        run.epoch, run.batch, run.step = numbers
        run._cut, run._so_far = cursor["cut"], so_far
        run.history.update(history)
        run._best_batches = batches
        if restored and not going_on:
            run._restore_best()
    except BaseException as error:
        _load(run, parts, *before)
        run.rng.bit_generator.state = order
        vars(run).update(own)
        if not isinstance(error, UNFIT):
            raise
        raise CheckpointError(f"{path}: made for another run; {error}") from error


def _load(run, parts, model, states):
    run.model.load_state_dict(model)
    for name, part in parts.items():
        part.load_state_dict(states[name])


def _check_best(run):
    """Refuse best weights now that would not fit when they are needed, at the end of training."""
    stopping = run.early_stopping
    if getattr(stopping, "best_weights", None) is not None and hasattr(stopping, "restore"):
        stopping.restore({key: array.copy() for key, array in run.model.arrays.items()})


def _has_best(run):
    """Whether the model holds early stopping's best weights, not those of the last step."""
    best = getattr(run.early_stopping, "best_weights", None)
    if run._ahead is None or not isinstance(best, dict):
        return False
    arrays = run.model.arrays
    return all(np.array_equal(best[key], arrays[key], equal_nan=True) for key in arrays)


# --- what a file must hold -----------------------------------------------------------------


def _is_real(value):
    return type(value) in (int, float)  # as JSON has them


def _check_names(place, found, wanted, others=()):
    """Refuse a dict that lacks a name, or has one that nobody reads."""
    if not isinstance(found, dict):
        raise TypeError(f"{place} must be a dict, got {type(found).__name__}")
    missing, extra = sorted(wanted - found.keys()), sorted(found.keys() - wanted - set(others))
    if missing or extra:
        raise ValueError(f"{place} lacks {missing} and has unknown {extra}")


def _check_tree(place, found, ours):
    """Refuse a tree with other names than ours."""
    _check_names(place, found, set(ours))
    for name, value in ours.items():
        if isinstance(value, dict):
            _check_tree(f"{place}[{name!r}]", found[name], value)


def _columns(run, validated):
    """The names of what each epoch leaves in the history, and of what it may leave."""
    link = link_of(run.loss)
    classes = link == "sigmoid" or (link == "softmax" and hasattr(run.model, "n_out"))
    names = ["loss", *["accuracy"] * classes, *(metric.name for metric in run._measures)]
    return {*EVERY_EPOCH, *names, *(f"val_{name}" for name in names if validated)}


def _history(history, epoch, wanted):
    """Return the history of this many epochs; callbacks may have added columns of their own."""
    _check_names("history", history, wanted if epoch else set(), history)
    for key, column in history.items():
        if not isinstance(column, list) or not all(map(_is_real, column)):
            raise TypeError(f"history[{key!r}] must be a list of numbers, got {column!r:.60}")
        if len(column) != epoch:
            raise ValueError(f"history[{key!r}] must have {epoch} entries, got {len(column)}")
    return {**history, **({name: [math.nan] * epoch for name in CLOCK} if epoch else {})}


def _so_far(entries, batch, steps, seeing):
    """Return what the current epoch has recorded so far; its last step records everything."""
    whole = LAST_STEP if batch and batch == steps else set()
    known = untimed(begun(seeing))
    others = known if steps else {*known, *LAST_STEP}
    _check_names("so_far", entries, {*known, *whole} if batch else set(), others)
    all_seen = entries.get("seen", [])
    for seen in all_seen if isinstance(all_seen, list) else [all_seen]:
        if not isinstance(seen, list) or [*map(type, seen[:2])] != [np.ndarray] * 2:
            raise ValueError(f"so_far['seen'] must hold outputs and targets, got {seen!r:.60}")
    numbers = {key: value for key, value in entries.items() if key not in LISTS}
    if numbers.get("right", 0) is None:  # no classes
        del numbers["right"]
    if not all(map(_is_real, numbers.values())):
        raise TypeError(f"so_far must hold numbers, got {entries!r:.60}")
    return {**entries, "seconds": [math.nan] * batch} if entries else {}


def _check_place(cut, epoch, batch, step):
    """Return an epoch's steps and if there are validation data, or refuse a place they lack."""
    steps = rows = 0
    if cut is not None:
        _check_names("cut", cut, CUT, OPTIONAL)
        source, group = cut.get("source"), cut.get("accumulate", 1)
        group = integer("Trainer.load", "accumulate", group, low=1)
        if source is not None and not isinstance(source, list):  # batches, if it is known how many
            steps = integer("Trainer.load", "source", source, low=0) or None
        else:
            rows, size = (integer("Trainer.load", name, cut[name], low=1)
                          for name in ("rows", "batch_size"))  # fmt: skip
            steps = -(-rows // (size * group))
        rows = integer("Trainer.load", "validation rows", cut["validation rows"], low=0)
        flag("Trainer.load", "weights", cut["weights"])
        for n in cut["sample"] if isinstance(cut["sample"], list) else [cut["sample"]]:
            integer("Trainer.load", "sample", n, low=0)
    if steps is None and step >= batch + epoch:
        return None, rows > 0
    if steps is None or batch > steps or step != epoch * steps + batch:
        raise ValueError(
            f"step {step} cannot be batch {batch} of epoch {epoch} with {steps} batches each"
        )
    return steps, rows > 0


def _check_epochs(run, epoch, batches):
    """Refuse a state that early stopping cannot have after this many epochs of this network."""
    if _is_of(run.early_stopping, "fastreg.stopping"):
        seen = len(run.early_stopping.history)
        if seen != epoch:
            raise ValueError(f"early_stopping.history must have {epoch} entries, got {seen}")
    best = getattr(run.early_stopping, "best_epoch", None)
    wanted = 0 if best is None else sum(name == "batches" for _, name, _ in marks(run.model))
    if len(batches) != wanted:
        raise ValueError(f"best_batches must have {wanted} entries, got {len(batches)}")


def _check_slots(run, state):
    """Refuse an optimizer's arrays that do not fit the network's."""
    arrays = run.model.params
    for name in state["names"] if _is_of(run.optimizer, "fastreg.optim.base") else ():
        if name not in arrays:
            raise ValueError(f"optimizer has a state of {name!r}, which the network has not")
        like = arrays[name]
        for key, value in state.items():
            narrow = [np.uint16, np.uint8] if "state_dtype" in state else []
            fits = getattr(value, "shape", None) == like.shape and (
                value.dtype in (like.dtype, *narrow * (like.dtype == np.float32))
            )
            fits |= state.get("state_dtype") == "int8" and key.endswith("_scale")
            if key.rpartition(".")[0] == name and not fits:
                raise ValueError(
                    f"optimizer[{key!r}] must have shape {like.shape} and dtype {like.dtype}, got "
                    f"{shown(value)}"
                )


def _is_of(part, module):
    """Whether a class of that module, or of one that goes by it, made this."""
    return any(kind.__module__ == module for kind in type(part).__mro__)


def _kinds(parts):
    return {name: type(part).__name__ for name, part in parts.items()}


def _parts(run):
    """The objects beside the model that have a state."""
    found = {
        "optimizer": run.optimizer,
        **dict(members(run.schedule)),
        "early_stopping": run.early_stopping,
        **{f"callbacks[{i}]": callback for i, callback in enumerate(run.callbacks)},
    }
    return {name: part for name, part in found.items() if has_state(part)}


def has_state(part: Any) -> bool:
    """Whether a part's state is saved with the run's."""
    return hasattr(part, "state_dict") and hasattr(part, "load_state_dict")


# --- settings ------------------------------------------------------------------------------


def settings_of(run: Any) -> Any:
    """Return the settings of the run's parts as JSON values, by their place."""
    parts = {
        "loss": run.loss,
        "schedule": run.schedule,
        "early_stopping": run.early_stopping,
        **{f"penalties[{i}]": one for i, one in enumerate(run.penalties)},
        **{f"layers[{i}]": one for i, one in enumerate(getattr(run.model, "layers", ()))},
    }
    found: dict[str, Any] = {}
    for place, part in parts.items():
        _describe(place, part, found)
    found |= {f"metrics[{i}]": metric.name for i, metric in enumerate(run._measures)}
    if run.monitor is not None:
        found |= {"monitor": run.monitor, "mode": run.mode}
    return found


def _describe(place, part, found):
    """Enter the class of an object, and the arguments of its class that it keeps."""
    while isinstance(part, functools.partial):
        for name, value in part.keywords.items():
            _enter(f"{place}.{name}", value, found)
        part = part.func
    if part is None or inspect.isroutine(part):
        found[place] = getattr(part, "__name__", None)
        return
    twin = type(part).__module__.startswith("fastreg.reference.")
    found[place] = TWIN * twin + type(part).__name__
    try:
        names = [name for name in inspect.signature(type(part)).parameters if name not in SILENT]
    except (TypeError, ValueError):  # a class of another language
        names = []
    for name in names:
        for kept in (name, f"_{name}"):
            if hasattr(part, kept):
                _enter(f"{place}.{name}", getattr(part, kept), found)
                break


def _enter(place, value, found):
    """Enter a setting that JSON can hold, or the settings of another object."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.size <= LARGEST):
        value = value.tolist()
    if value is None or isinstance(value, (bool, int, float, str)):
        found[place] = value
    elif isinstance(value, (list, tuple)):
        for i, one in enumerate(value):
            _enter(f"{place}[{i}]", one, found)
    elif callable(value) and not isinstance(value, type):
        _describe(place, value, found)


def _check_settings(saved, ours):
    """Refuse settings that differ, with all of them."""
    if not isinstance(saved, dict):
        raise TypeError(f"settings must be a dict, got {type(saved).__name__}")
    lines = [
        f"{place} was {saved.get(place)!r}, not {ours.get(place)!r}"
        for place in {**saved, **ours}
        if not _same_setting(place, saved, ours)
    ]
    if lines:
        raise ValueError("; ".join(lines))


def _same_setting(place, saved, ours):
    """Whether a setting is the same, or kept by one of two layers, the other being a twin."""
    if place in saved and place in ours:
        return _plain(saved[place]) == _plain(ours[place])
    layer = place.partition(".")[0]
    return _is_twin(saved.get(layer)) != _is_twin(ours.get(layer))


def _is_twin(kind):
    return isinstance(kind, str) and kind.startswith(TWIN)


def _plain(value):
    return value.removeprefix(TWIN) if isinstance(value, str) else value
