"""A training run as a tree for `fastreg.checkpoint`, and back."""

from fastreg._checks import integer
from fastreg.checkpoint import CheckpointError

__all__ = ["check_cut", "state_of", "take"]

COUNTERS = ("epoch", "batch", "step")


def state_of(run):
    """Return everything that the rest of the run depends on."""
    for method in ("state_dict", "load_state_dict"):
        if not hasattr(run.optimizer, method):
            name = type(run.optimizer).__name__
            raise TypeError(f"Trainer.save: optimizer must have {method}, got {name}")
    parts = _parts(run)
    cursor = {name: getattr(run, name) for name in COUNTERS}
    return {
        "model": run.model.state_dict(),
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "kinds": _kinds(parts),
        "rng": run._rng_state,
        "cursor": {**cursor, "cut": run._cut, "last_step": run._last_step},
        "history": run.history,
    }


def check_cut(path, state, cut):
    """Refuse a state whose run saw another number of rows or another batch size."""
    cursor = state.get("cursor")
    found = cursor.get("cut") if isinstance(cursor, dict) else None
    if found != cut:
        raise CheckpointError(f"{path}: saved by a run on {found}, which cannot go on with {cut}")


def take(run, path, state):
    """Take over a state, or change nothing and say what does not fit."""
    parts = _parts(run)
    before = run.model.state_dict(), {name: part.state_dict() for name, part in parts.items()}
    order = run.rng.bit_generator.state
    try:
        if state["kinds"] != _kinds(parts):
            raise ValueError(f"it holds the state of {state['kinds']}, not of {_kinds(parts)}")
        cursor, history = state["cursor"], state["history"]
        numbers = [integer("Trainer.load", name, cursor[name], low=0) for name in COUNTERS]
        cut, last_step = cursor["cut"], dict(cursor["last_step"])
        _load(run, parts, state["model"], state["parts"])
        run.rng.bit_generator.state = state["rng"]
    except (KeyError, TypeError, ValueError) as error:
        _load(run, parts, *before)
        run.rng.bit_generator.state = order
        raise CheckpointError(f"{path}: made for another run; {error}") from error
    run._begin()
    run.epoch, run.batch, run.step = numbers
    run._cut, run._last_step, run.history = cut, last_step, history


def _load(run, parts, model, states):
    run.model.load_state_dict(model)
    for name, part in parts.items():
        part.load_state_dict(states[name])


def _kinds(parts):
    return {name: type(part).__name__ for name, part in parts.items()}


def _parts(run):
    """The objects beside the model that have a state."""
    found = {
        "optimizer": run.optimizer,
        "schedule": run.schedule,
        "early_stopping": run.early_stopping,
    }
    return {name: part for name, part in found.items() if hasattr(part, "state_dict")}
