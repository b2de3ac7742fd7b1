"""The state of an optimizer as a flat dictionary, and back."""

import math

import numpy as np

from fastreg import _checks

__all__ = ["State"]


class State:
    """Saving and loading, for an optimizer that has an updater, slots and hyper-parameters."""

    def state_dict(self):
        """Return a flat copy of the state: arrays by ``"name.slot"``, and JSON-able scalars.

        Raises
        ------
        TypeError
            If a parameter's name is neither a string nor an integer.
        """
        t, skipped, memory, arrays = self._updater.snapshot()
        slots = dict(zip(self._slot_names(), arrays, strict=True))
        names = list(dict.fromkeys(name for known in slots.values() for name in known))
        if any(not isinstance(name, (str, int)) for name in names):
            raise TypeError(f"{self._name}.state_dict: names must be str or int, got {names}")
        if len(set(map(str, names))) < len(names):
            raise ValueError(f"{self._name}.state_dict: names must differ as text, got {names}")
        state = {
            "optimizer": self._name,
            "compat": self._compat,
            "l1_mode": self._l1_mode,
            "t": t,
            "skipped": skipped,
            "memory": memory,
            "names": names,
        }
        for key in self._hyper_names():
            value = self._updater.get_hyper(key)
            state[f"hyper.{key}"] = None if callable(value) or math.isinf(value) else value
        for slot_name, known in slots.items():
            state.update({f"{name}.{slot_name}": array for name, array in known.items()})
        return state

    def load_state_dict(self, state):
        """Take over a state; the next step continues bit for bit.

        Parameters
        ----------
        state : dict
            From ``state_dict`` of an optimizer of the same class and ``compat``. Schedules are
            not part of it: give the same ones to the constructor.

        Raises
        ------
        TypeError, ValueError
            If an entry is missing, unknown, or of the wrong kind or shape; nothing has changed.
        """
        where = f"{self._name}.load_state_dict"
        if not isinstance(state, dict):
            raise TypeError(f"{where}: state must be a dict, got {type(state).__name__}")
        names = state.get("names")
        if not isinstance(names, list) or not all(isinstance(n, (str, int)) for n in names):
            raise ValueError(f"{where}: state['names'] must be a list of names, got {names!r}")
        slots = self._slot_names()
        scalars = {"optimizer", "compat", "l1_mode", "t", "skipped", "memory", "names"}
        scalars |= {f"hyper.{key}" for key in self._hyper_names()}
        arrays = {f"{name}.{slot_name}" for name in names for slot_name in slots}
        missing = sorted((scalars | arrays) - set(state))
        extra = sorted(map(str, set(state) - scalars - arrays))
        if missing or extra:
            raise ValueError(f"{where}: state lacks {missing} and has unknown {extra}")
        expected = {"optimizer": self._name, "compat": self._compat, "l1_mode": self._l1_mode}
        for key, mine in expected.items():
            if state[key] != mine:
                raise ValueError(f"{where}: state['{key}'] must be {mine!r}, got {state[key]!r}")
        t = _checks.integer(where, "state['t']", state["t"], low=0, high=2**62)
        skipped = _checks.integer(where, "state['skipped']", state["skipped"], low=0, high=2**62)
        memory = state["memory"]
        if not isinstance(memory, list) or len(memory) != len(self._updater.get_memory()):
            raise ValueError(f"{where}: state['memory'] must have a number a group, got {memory!r}")
        memory = [_checks.number(where, "state['memory']", number) for number in memory]
        hypers = {key: self._checked_hyper(where, key, state) for key in self._hyper_names()}
        hypers = {key: value for key, value in hypers.items() if value is not None}
        loaded = [
            {name: self._checked_state(where, f"{name}.{s}", state) for name in names}
            for s in slots
        ]
        for name in names:
            if len({(own[name].shape, own[name].dtype) for own in loaded}) > 1:
                raise ValueError(
                    f"{where}: the arrays of {name!r} must be alike in shape and dtype"
                )
        shared = {key: (value, self._members(key)) for key, value in hypers.items()}
        self._updater.set_state(t, skipped, memory, loaded, shared)

    def _checked_hyper(self, where, key, state):
        """A saved number within its bounds; None for a schedule, which is not saved."""
        value = state[f"hyper.{key}"]
        if value is None:
            return math.inf if key == "clip_value" else None
        bounds = self._bounds("lambda_l1" if key == "lambda_prox" else key)
        return _checks.number(where, f"state['hyper.{key}']", value, **bounds)

    def _checked_state(self, where, key, state):
        array = state[key]
        if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
            raise TypeError(f"{where}: state[{key!r}] must be a float32 or float64 array")
        return np.array(array, order="K", copy=True)

    def _slot_names(self):
        return [*self._slots, "ema"] if self._averaged else list(self._slots)
