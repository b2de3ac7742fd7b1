"""A training run as a tree for `fastreg.checkpoint`, and back."""

from __future__ import annotations

import functools
import inspect
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core.checks import flag, integer
from fastreg.checkpoint import CheckpointError
from fastreg.schedule.family import members

if TYPE_CHECKING:
    from fastreg._core.types import PathLike, Saved

__all__ = ["check_cut", "settings_of", "state_of", "take"]

COUNTERS = ("epoch", "batch", "step")
SILENT = {"rng", "verbose", "self"}  # arguments that are no settings of a run
UNFIT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)  # of a foreign tree
LARGEST = 4096  # elements of an array that is a setting


def state_of(run: Any) -> Any:
    """Return everything that the rest of the run depends on."""
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
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "kinds": _kinds(parts),
        "settings": settings_of(run),
        "rng": run._rng_state,
        "cursor": {**cursor, "cut": run._cut, "last_step": run._last_step},
        "history": run.history,
    }


def check_cut(path: PathLike, state: Saved, cut: Any) -> None:
    """Refuse a state whose run saw other data, as far as numbers and shapes say."""
    cursor = state.get("cursor")
    cursor = cursor if isinstance(cursor, dict) else {}
    found = cursor.get("cut")
    begun = any(type(cursor.get(name)) is not int or cursor[name] for name in COUNTERS)
    same = json.dumps(found, default=repr) == json.dumps(cut)  # arrays have no one answer to !=
    if not same and (found is not None or begun):
        raise CheckpointError(f"{path}: saved by a run on {found}, which cannot go on with {cut}")


def take(run: Any, path: PathLike, state: Saved, *, going_on: bool = False) -> None:
    """Take over a state, or change nothing and say what does not fit.

    A run that is ``going_on`` begins with the weights where training was, not with the best.
    """
    parts = _parts(run)
    before = run.model.state_dict(), {name: part.state_dict() for name, part in parts.items()}
    order, own = run.rng.bit_generator.state, dict(vars(run))
    try:
        if state["kinds"] != _kinds(parts):
            raise ValueError(f"it holds the state of {state['kinds']}, not of {_kinds(parts)}")
        cursor = state["cursor"]
        numbers = [integer("Trainer.load", name, cursor[name], low=0) for name in COUNTERS]
        _check_place(cursor["cut"], *numbers)
        history = _history(state["history"], cursor["epoch"])
        restored = flag("Trainer.load", "restored", state["restored"])
        last_step = _last_step(cursor["last_step"], cursor["batch"])
        batches = [integer("Trainer.load", "best_batches", n, low=0) for n in state["best_batches"]]
        _load(run, parts, state["model"], state["parts"])
        _check_best(run)
        _check_settings(state["settings"], settings_of(run))
        run.rng.bit_generator.state = state["rng"]
        run._begin()
        run.epoch, run.batch, run.step = numbers
        run._cut, run._last_step, run.history = cursor["cut"], last_step, history
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
    """Refuse best weights that would not fit once they are asked for, at the end of training."""
    stopping = run.early_stopping
    if getattr(stopping, "best_weights", None) is not None and hasattr(stopping, "restore"):
        stopping.restore({key: array.copy() for key, array in run.model.arrays.items()})


def _has_best(run):
    """Whether the model has early stopping's best weights, and training was elsewhere."""
    best = getattr(run.early_stopping, "best_weights", None)
    if run._ahead is None or not isinstance(best, dict):
        return False
    arrays = run.model.arrays
    return all(np.array_equal(best[key], arrays[key], equal_nan=True) for key in arrays)


# --- what a file must hold -----------------------------------------------------------------


def _is_real(value):
    return type(value) in (int, float)  # as JSON has them


def _history(history, epoch):
    """Return the history of so many epochs."""
    if not isinstance(history, dict):
        raise TypeError(f"history must be a dict, got {type(history).__name__}")
    for key, column in history.items():
        if not isinstance(column, list) or not all(map(_is_real, column)):
            raise TypeError(f"history[{key!r}] must be a list of numbers, got {column!r:.60}")
        if len(column) != epoch:
            raise ValueError(f"history[{key!r}] must have {epoch} entries, got {len(column)}")
    return history


def _last_step(entries, batch):
    """Return what the epoch under way has left so far."""
    if not isinstance(entries, dict):
        raise TypeError(f"last_step must be a dict, got {type(entries).__name__}")
    seconds = entries.get("seconds", [])
    if not isinstance(seconds, list) or not all(map(_is_real, seconds)) or len(seconds) != batch:
        raise ValueError(f"last_step['seconds'] must have {batch} numbers, got {seconds!r:.60}")
    if not all(_is_real(value) for key, value in entries.items() if key != "seconds"):
        raise TypeError(f"last_step must hold numbers, got {entries!r:.60}")
    return entries


def _check_place(cut, epoch, batch, step):
    """Refuse a place in the run that its data do not have."""
    if cut is None:
        steps = 0
    elif isinstance(cut, dict):
        rows, size = (integer("Trainer.load", name, cut[name], low=1)
                      for name in ("rows", "batch_size"))  # fmt: skip
        steps = -(-rows // size)
    else:
        raise TypeError(f"cut must be a dict, got {type(cut).__name__}")
    if batch > steps or step != epoch * steps + batch:
        raise ValueError(
            f"step {step} cannot be batch {batch} of epoch {epoch} with {steps} batches each"
        )


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
    return {
        name: part for name, part in found.items()
        if hasattr(part, "state_dict") and hasattr(part, "load_state_dict")
    }  # fmt: skip


# --- settings ------------------------------------------------------------------------------


def settings_of(run: Any) -> Any:
    """Return what the run's parts were made with, as JSON values by their place."""
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
    return found


def _describe(place, part, found):
    """Enter the kind of an object, and those arguments of its class that it keeps."""
    while isinstance(part, functools.partial):
        for name, value in part.keywords.items():
            _enter(f"{place}.{name}", value, found)
        part = part.func
    if part is None or inspect.isroutine(part):
        found[place] = getattr(part, "__name__", None)
        return
    found[place] = type(part).__name__
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
    """Enter a setting that JSON can hold, or what another object was made with."""
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
        if saved.get(place) != ours.get(place) and not _other_backend(place, saved, ours)
    ]
    if lines:
        raise ValueError("; ".join(lines))


def _other_backend(place, saved, ours):
    """Whether only one of two layers keeps the setting: a twin of `fastreg.reference` may not."""
    return place.startswith("layers[") and "." in place and not (place in saved and place in ours)
