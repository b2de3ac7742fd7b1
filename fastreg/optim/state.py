"""The state of an optimizer as a flat dictionary, and back.

Numbers that may be assigned (rates, decays and so on) are taken from the state. What only the
constructor sets must be the same in the state; a difference is refused by name. A schedule is a
function and is not saved: if the saved optimizer had a schedule, the loading one must have one too.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastreg._core import checks
from fastreg.optim.coded import codes, scales
from fastreg.optim.hypers import HyperParameters, state_array
from fastreg.optim.narrow import halves, halves_of, widened

__all__ = ["State", "saved"]


def saved(value: Any) -> Any:
    """A hyper-parameter as a state stores it: "function" for a schedule, None for infinity."""
    return "function" if callable(value) else None if math.isinf(value) else value


def alike(found: Any, mine: Any) -> bool:
    """Whether a saved value is this number, truth, text, list or dict; arrays are none of these."""
    if isinstance(mine, dict):
        return (
            isinstance(found, dict)
            and list(found) == list(mine)
            and all(alike(found[key], mine[key]) for key in mine)
        )
    if isinstance(mine, list):
        return (
            isinstance(found, (list, tuple))
            and len(found) == len(mine)
            and all(map(alike, found, mine))
        )
    if isinstance(mine, (str, bool, type(None))):
        return type(found) is type(mine) and found == mine
    return isinstance(found, (int, float, np.number)) and checks.is_number(found) and found == mine


class State(HyperParameters):
    """Saving and loading, for an optimizer that has an updater, slots and hyper-parameters."""

    def state_dict(self) -> dict[str, Any]:
        """Return a flat copy of the state: arrays by ``"name.slot"``, and JSON-able scalars.

        Raises
        ------
        TypeError
            If a parameter's name is neither a string nor an integer.
        """
        t, skipped, start, swapped, born, arrays, exponents = self._updater.snapshot()
        names = list(born)
        if not all(isinstance(name, (str, int)) for name in names):
            raise TypeError(f"{self._name}.state_dict: names must be str or int, got {names}")
        if len(set(map(str, names))) < len(names):
            raise ValueError(f"{self._name}.state_dict: names must differ as text, got {names}")
        state = {
            "optimizer": self._name,
            "compat": self._compat,
            **{key: _copied(value) for key, value in self._fixed.items()},
            "t": t,
            "skipped": skipped,
            "start": start,
            "swapped": swapped,
            "names": names,
            "steps": [steps for steps, _ in born.values()],
            "memory": [memory for _, memory in born.values()],
        }
        if self._state_dtype is not None:
            state["state_dtype"] = self._state_dtype
        if self._updater.draws:
            state["state_key"] = self._updater.key
        for key in self._hyper_names():
            state[f"hyper.{key}"] = saved(self._updater.get_hyper(key))
        slot_names = self._slot_names(masters=True)
        for slot_name, known, own in zip(slot_names, arrays, exponents, strict=True):
            state.update({f"{name}.{slot_name}": array for name, array in known.items()})
            state.update({f"{name}.{slot_name}_scale": array for name, array in own.items()})
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state; the next step continues bit for bit.

        Learning rate, decays, penalties and all other numbers that may be assigned become those
        of the state. What only the constructor sets must be the same: the class and its options
        (such as AdaGrad's ``initial_accumulator``), ``compat``, ``l1_mode``, ``clip_norm``,
        ``on_nonfinite``, ``ema_decay``, ``maximize``, ``exclude`` and ``groups``. Functions
        (schedules, predicates) are not saved: give the constructor one where the saved optimizer
        had one, and it continues from step ``t``. A state in bfloat16 or int8 is widened for an
        optimizer that keeps float32, and one of another type rounded to the nearest for an
        optimizer that keeps bfloat16 or int8.
        Float32 copies of parameters (``master``) are taken where this optimizer keeps them, and
        made of the parameters where the state has none.

        Parameters
        ----------
        state : dict
            From ``state_dict``.

        Raises
        ------
        TypeError, ValueError
            If an entry is missing, unknown, of the wrong kind or shape, or belongs to another
            optimizer. Nothing has changed then.
        """
        where = f"{self._name}.load_state_dict"
        if not isinstance(state, dict):
            raise TypeError(f"{where}: state must be a dict, got {type(state).__name__}")
        state = self._later | state  # a copy
        theirs = state.pop("state_dtype", None)
        if theirs is not None:
            checks.choice(where, "state['state_dtype']", theirs, ("bfloat16", "int8"))
        seed = None
        if theirs or "state_key" in state:
            seed = state.pop("state_key", None)
            seed = checks.integer(where, "state['state_key']", seed, low=0, high=2**64 - 1)
        masters = self._taken_masters(where, state)
        self._check_fixed(where, state)
        names = self._checked_names(where, state, theirs)
        t = self._checked_count(where, "t", state["t"])
        skipped = self._checked_count(where, "skipped", state["skipped"])
        start = self._checked_count(where, "start", state["start"], t)
        swapped = checks.flag(where, "state['swapped']", state["swapped"])
        if swapped and not self._averaged:
            raise ValueError(f"{where}: state['swapped'] must be False without averages")
        for key in ("steps", "memory"):
            if not isinstance(state[key], list) or len(state[key]) != len(names):
                raise ValueError(
                    f"{where}: state['{key}'] must be a list of a number per name, got "
                    f"{checks.shown(state[key])}"
                )
        steps = [self._checked_count(where, "steps", number, t) for number in state["steps"]]
        memory = [
            checks.number(where, "state['memory']", number, low=0.0, high=1.0)
            for number in state["memory"]
        ]
        shared = {
            key: (self._checked_hyper(where, key, state[f"hyper.{key}"]), self._members(key))
            for key in self._hyper_names()
            if not callable(self._updater.get_hyper(key))
        }
        loaded = [
            {name: self._wide_entry(where, state, f"{name}.{slot}", k, theirs) for name in names}
            for k, slot in enumerate(self._slot_names())
        ]
        if self._mastered:
            loaded.append(masters)
        for name in names:
            if len({(own[name].shape, own[name].dtype) for own in loaded if name in own}) > 1:
                raise ValueError(
                    f"{where}: the arrays of {name!r} must be alike in shape and dtype"
                )
        for k, own in enumerate(loaded):
            for name, array in own.items():
                if self._state_dtype and array.dtype != np.float32:
                    raise TypeError(
                        f"{where}: the arrays of {name!r} must be float32 where state_dtype is "
                        f"{self._state_dtype!r}, got {array.dtype}"
                    )
                if k < len(self._slots) and self._state_dtype == "bfloat16":
                    own[name] = halves_of(array) if self._updater.halved(k) else array
        exponents = [
            self._encode(where, state, slot, k, own, theirs)
            for k, (slot, own) in enumerate(zip(self._slot_names(True), loaded, strict=True))
        ]
        born = dict(zip(names, zip(steps, memory, strict=True), strict=True))
        self._updater.set_state((t, skipped, start, swapped, born, loaded, exponents), shared, seed)

    def _taken_masters(self, where, state):
        """The masters in a state by name, out of it; they are checked though nobody needs them."""
        names, masters = state.get("names"), {}
        known = names if isinstance(names, list) else []
        for name in (name for name in known if isinstance(name, (str, int))):
            key = f"{name}.master"
            if key in state:
                masters[name] = state_array(where, f"state['{key}']", state.pop(key))
                if masters[name].dtype != np.float32:
                    raise TypeError(
                        f"{where}: state['{key}'] must be float32, got {masters[name].dtype}"
                    )
        return masters

    def _wide_entry(self, where, state, key, k, theirs):
        """A saved array as floats; bfloat16 is rounded back to what it was."""
        if theirs == "int8" and self._updater.rounds(k):
            return self._updater.decoded(k, *self._bytes(where, state, key))
        name, value = f"state['{key}']", state[key]
        if theirs and self._updater.rounds(k):
            return widened(halves(where, name, value))
        return state_array(where, name, value)

    def _bytes(self, where, state, key):
        """Copies of saved codes and their scales."""
        own = codes(where, f"state['{key}']", state[key])
        more = f"{key}_scale"
        return own, scales(where, f"state['{more}']", state[more], own.size)

    def _encode(self, where, state, slot, k, own, theirs):
        """Replace a slot's floats by codes, those of the state if it has them; return scales."""
        exponents = {}
        if self._state_dtype != "int8" or k >= len(self._slots) or not self._updater.halved(k):
            return exponents
        for name, array in own.items():
            if theirs == "int8":
                own[name], exponents[name] = self._bytes(where, state, f"{name}.{slot}")
            else:
                floats = np.ascontiguousarray(array).reshape(array.shape)
                own[name], exponents[name] = self._updater.encoded(k, floats)
        return exponents

    def _checked_names(self, where, state, theirs):
        """The names in a state that has every entry, and no other."""
        names = state.get("names")
        if not isinstance(names, list) or not all(isinstance(n, (str, int)) for n in names):
            raise ValueError(
                f"{where}: state['names'] must be a list of names, got {checks.shown(names)}"
            )
        if len(set(map(str, names))) < len(names):
            raise ValueError(
                f"{where}: state['names'] must differ as text, got {checks.shown(names)}"
            )
        needed = {"optimizer", "compat", *self._fixed, "t", "skipped", "start", "swapped", "names"}
        needed |= {"steps", "memory", *(f"hyper.{key}" for key in self._hyper_names())}
        needed |= {f"{name}.{slot}" for name in names for slot in self._slot_names()}
        if theirs == "int8":
            needed |= {
                f"{name}.{slot}_scale"
                for k, slot in enumerate(self._slots)
                for name in names
                if self._updater.rounds(k)
            }
        missing = sorted(needed - set(state))
        extra = sorted(map(str, set(state) - needed))
        if missing or extra:
            raise ValueError(f"{where}: state lacks {missing} and has unknown {extra}")
        return names

    def _check_fixed(self, where, state):
        """Refuse the state of an optimizer that was constructed with other options."""
        expected = {"optimizer": self._name, "compat": self._compat, **self._fixed}
        for key, mine in expected.items():
            if key in state and not alike(state[key], mine):
                raise ValueError(
                    f"{where}: state['{key}'] must be {mine!r}, got {checks.shown(state[key])}; "
                    "give the constructor what the state's optimizer had"
                )
        for key in self._hyper_names():
            value = state.get(f"hyper.{key}")
            scheduled = isinstance(value, str) and value == "function"
            if scheduled != callable(self._updater.get_hyper(key)) and f"hyper.{key}" in state:
                kinds = ("a number", "a schedule")
                raise ValueError(
                    f"{where}: state['hyper.{key}'] must be {kinds[not scheduled]}, as this "
                    f"optimizer's is, got {checks.shown(value)}; construct it with "
                    f"{kinds[scheduled]}"
                )

    def _checked_count(self, where, key, value, high=2**62):
        return checks.integer(where, f"state['{key}']", value, low=0, high=high)

    def _checked_hyper(self, where, key, value):
        """A saved number within its bounds."""
        if key == "clip_value" and value is None:
            return math.inf
        bounds = self._bounds("lambda_l1" if key == "lambda_prox" else key)
        number = checks.number(where, f"state['hyper.{key}']", value, **bounds)
        if not key.startswith("lambda"):
            self._checked(key, number, ".load_state_dict: state")
        return number

    def _slot_names(self, masters=False):
        names = [*self._slots, "ema"] if self._averaged else list(self._slots)
        return [*names, "master"] if masters and self._mastered else names


def _copied(value):
    """A copy of nested lists and dicts."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return list(value) if isinstance(value, list) else value
