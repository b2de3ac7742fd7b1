"""Hyper-parameters of an optimizer: declared, checked, and kept where the kernel reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core import checks
from fastreg.optim.coded import floats
from fastreg.optim.narrow import halves, halves_of

if TYPE_CHECKING:
    from fastreg._core._kernels import Updater
    from fastreg._core.types import Array, Hyper, Rate

__all__ = [
    "COMPAT",
    "DECAY",
    "DECAYS",
    "INITIAL",
    "NO_LIBRARY",
    "OPTAX_ALONE",
    "SERVICES",
    "Default",
    "HyperParameters",
    "hyper",
    "slot",
    "state_array",
]


class Default(float):
    """A default value that ``compat`` may replace; a number that was passed is a plain float."""


COMPAT: dict[str | None, int] = {None: 0, "torch": 1, "keras": 2, "optax": 3}
INITIAL = "initial_accumulator"  # the first value of a slot; steps do not use it
#: What a library's class does with weight_decay: "coupled" to the gradient, "decoupled" from it,
#: "none" if it has no such argument, "no class" if there is no such class; None is ours.
DECAYS: dict[str | None, str] = {None: "decoupled", "torch": "coupled"}
DECAYS |= {"keras": "decoupled", "optax": "none"}
#: For a rule that no library has: ``compat`` is refused, and no test compares it.
NO_LIBRARY = DECAYS | dict.fromkeys(("torch", "keras", "optax"), "no class")
#: For a rule that Optax alone has, and no `weight_decay` in it; a class says what it has.
OPTAX_ALONE = DECAYS | dict.fromkeys(("torch", "keras"), "no class")
#: Bounds of a mean's decay per step.
DECAY: dict[str, Any] = {"low": 0.0, "high": 1.0, "open_high": True}

#: Services that every optimizer takes as keywords: (default, bounds of the number).
SERVICES: dict[str, tuple[float, dict[str, Any]]] = {
    "weight_decay": (Default(0.0), {"low": 0.0}),
    "lambda_l2": (0.0, {"low": 0.0}),
    "lambda_l1": (0.0, {"low": 0.0}),
    "clip_value": (math.inf, {"low": 0.0, "open_low": True}),
}
SCHEDULED = ("learning_rate", "weight_decay")


class Bounded(property):
    """A property that knows the bounds of its number."""

    bounds: dict[str, Any]


def hyper(name: str, doc: str, **bounds: Any) -> Any:
    """A hyper-parameter, checked on assignment, that lives where the kernel reads it."""

    def read(self):
        value = self._updater.get_hyper(name)
        return value(self.t) if callable(value) else value

    def write(self, value):
        checked = self._checked(name, value)
        for group in self._members(name):
            self._updater.set_hyper(name, checked, group)

    prop = Bounded(read, write, doc=doc)
    prop.bounds = bounds
    return prop


def state_array(where: str, name: str, value: Any) -> Array:
    """Return a copy of a float array in its own layout."""
    plain = isinstance(value, np.ndarray) and not hasattr(value, "filled")
    if not plain or value.dtype not in (np.float32, np.float64):
        kind = value.dtype if plain else type(value).__name__
        raise TypeError(f"{where}: {name} must be a float32 or float64 array, got {kind}")
    return np.array(value, order="K", copy=True)


def slot_entry(where: str, name: str, value: Any) -> Array:
    """Return the state of one parameter as an array; that of a scalar entry may be a number."""
    if isinstance(value, (int, float, np.generic)) and checks.is_number(value):
        value = np.asarray(value, getattr(value, "dtype", float))
    return state_array(where, name, value)


def half_entry(where: str, name: str, value: Any) -> Array:
    """Return the state of one parameter in bfloat16: as it is, or rounded from float32."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.dtype.itemsize == 4:
        return halves_of(state_array(where, name, value))
    return halves(where, name, value)


def slot(k: int, doc: str) -> Any:
    """A state slot by parameter name: its arrays may be read, changed, or all replaced."""

    def read(self):
        return MappingProxyType(self._updater.slot(k))

    def write(self, value):
        name = self._slots[k]
        if not isinstance(value, Mapping):
            raise TypeError(
                f"{self._name}: {name} must be a dict of arrays, got {checks.shown(value)}"
            )
        if self._updater.bits == 8 and self._updater.halved(k):
            both = {
                key: self._updater.encoded(k, floats(self._name, f"{name}[{key!r}]", entry))
                for key, entry in value.items()
            }
            codes, scales = ({key: pair[i] for key, pair in both.items()} for i in (0, 1))
            self._updater.set_slot(k, codes, scales)
            return
        entry_of = half_entry if self._updater.halved(k) else slot_entry
        entries = {
            key: entry_of(self._name, f"{name}[{key!r}]", entry) for key, entry in value.items()
        }
        self._updater.set_slot(k, entries)

    return property(read, write, doc=doc)


def _is_infinite(value):
    try:
        return checks.is_number(value) and float(value) == math.inf
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return False


class HyperParameters:
    """The hyper-parameters of an optimizer: their names, bounds, and the groups that share them."""

    _updater: Updater
    _slots: tuple[str, ...]
    _hypers: tuple[str, ...]
    _overrides: list[dict[str, Any]]  # by group
    _fixed: dict[str, Any]  # what only the constructor sets
    _defaults: dict[
        str | None, dict[str, float]
    ] = {}  # library: {hyper-parameter: its default there}
    _decays: dict[str | None, str] = DECAYS  # library: what weight_decay means there
    _accumulators: tuple[str, ...] = ("v",)  # the slots that begin with initial_accumulator
    _copies: tuple[str, ...] = ()  # the slots that begin as the parameter
    _averages: bool = False  # whether the rule has an average of its own
    _ranks: int = 0  # how many share out the state, while several shards train
    _later: dict[str, Any] = {}  # entries that states of earlier versions lack
    _l1_mode: str
    _compat: str | None
    _state_dtype: str | None
    _averaged: bool
    _mastered: bool

    @property
    def _name(self):
        return type(self).__name__

    def _bounds(self, name: str) -> Any:
        if name in SERVICES:
            return SERVICES[name][1]
        if name == INITIAL:
            return {"low": 0.0}
        prop = getattr(type(self), "lr" if name == "learning_rate" else name, None)
        return getattr(prop, "bounds", None)

    def _checked(self, name, value, place=""):
        if name == "clip_value" and (value is None or _is_infinite(value)):
            return math.inf
        if not (callable(value) and name in SCHEDULED):
            value = checks.number(self._name + place, name, value, **self._bounds(name))
        if name == "weight_decay" and value != 0.0 and self._decays.get(self._compat) == "none":
            raise ValueError(
                f"{self._name}{place}: weight_decay must be 0 with compat={self._compat!r}, whose "
                f"{self._name} has none, got {value!r}; give lambda_l2, which is added to the "
                "gradient, or leave compat out"
            )
        return value

    def _members(self, name):
        """The groups that share the common value of a hyper-parameter."""
        name = "lambda_l1" if name == "lambda_prox" else name
        return [group for group, own in enumerate(self._overrides) if name not in own]

    def _set(self, name, value, group):
        name = self._l1_name if name == "lambda_l1" else name
        self._updater.set_hyper(name, value, group)

    lr: Rate = hyper("learning_rate", "The learning rate of the next step.", low=0.0)
    weight_decay: Rate = hyper("weight_decay", "Decoupled decay of the next step.", low=0.0)
    lambda_l2: Hyper = hyper("lambda_l2", "Coupled L2 penalty.", low=0.0)
    clip_value: Hyper = hyper("clip_value", "Largest absolute value of a gradient.", low=0.0)

    @property
    def lambda_l1(self) -> float:
        """L1 penalty, in the mode given to the constructor."""
        return self._updater.get_hyper(self._l1_name)

    @lambda_l1.setter
    def lambda_l1(self, value: float) -> None:
        checked = self._checked("lambda_l1", value)
        for group in self._members("lambda_l1"):
            self._updater.set_hyper(self._l1_name, checked, group)

    @property
    def _l1_name(self):
        return "lambda_l1" if self._l1_mode == "subgradient" else "lambda_prox"

    def _hyper_names(self):
        return [
            *self._hypers,
            "weight_decay",
            "lambda_l1",
            "lambda_l2",
            "lambda_prox",
            "clip_value",
        ]
