"""What all optimizers share: hyper-parameters, services, groups and state."""

import fnmatch
import math
from types import MappingProxyType

import numpy as np

from fastreg import _checks
from fastreg._kernels import Updater

__all__ = ["Default", "Optimizer", "hyper", "slot"]


class Default(float):
    """A default value, to tell it from a number that was passed: ``compat`` may replace it."""


COMPAT = {None: 0, "torch": 1, "keras": 2, "optax": 3}
INITIAL = "initial_accumulator"  # the first value of a slot, not a number of the step
L1_MODES = ("subgradient", "prox")
NONFINITE = ("propagate", "skip", "raise")

#: Services that every optimizer takes as keywords: (default, bounds of the number).
SERVICES = {
    "weight_decay": (Default(0.0), {"low": 0.0}),
    "lambda_l2": (0.0, {"low": 0.0}),
    "lambda_l1": (0.0, {"low": 0.0}),
    "clip_value": (math.inf, {"low": 0.0, "open_low": True}),
}
SCHEDULED = ("learning_rate", "weight_decay")


def hyper(name, doc, **bounds):
    """A hyper-parameter, checked on assignment, that lives where the kernel reads it."""

    def read(self):
        value = self._updater.get_hyper(name)
        return value(self.t) if callable(value) else value

    def write(self, value):
        checked = self._checked(name, value)
        for group in self._members(name):
            self._updater.set_hyper(name, checked, group)

    prop = property(read, write, doc=doc)
    prop.fget.bounds = bounds
    return prop


def slot(k, doc):
    """A state slot by parameter name: arrays may be read and changed, entries not replaced."""
    return property(lambda self: MappingProxyType(self._updater.slot(k)), doc=doc)


class Optimizer:
    r"""Base of all optimizers; its keyword arguments are services that each of them offers.

    They are computed in the same pass over memory as the step itself, in this order:

    1. gradients are multiplied by ``min(1, clip_norm / norm)`` and clipped to ``clip_value``;
    2. ``lambda_l2 * theta`` and, in mode "subgradient", ``lambda_l1 * sign(theta)`` are added;
    3. the rule's step is taken from ``theta * (1 - learning_rate * weight_decay)``;
    4. in mode "prox", the result is soft-thresholded in the rule's own metric;
    5. the moving average follows: ``ema = ema_decay * ema + (1 - ema_decay) * theta``.

    Parameters
    ----------
    weight_decay : float or function of the step, default 0
        Decoupled decay: theta shrinks by ``learning_rate * weight_decay`` a step.
    lambda_l2 : float, default 0
        Coupled L2 penalty: the gradient of ``lambda_l2 / 2 * sum(theta ** 2)`` is added.
    lambda_l1 : float, default 0
        Penalty ``lambda_l1 * sum(abs(theta))``.
    l1_mode : {"subgradient", "prox"}
        The chapter's sign, or the proximal operator, which reaches exact zeros.
    clip_norm : float, optional
        Largest global norm of all gradients together, above 0. It is summed in float64, in one
        extra read of the gradients; ``grad_norm`` keeps it. A norm that is not finite clips
        nothing.
    clip_value : float, optional
        Largest absolute value of a gradient's element, above 0.
    exclude : callable or sequence of str, default ()
        Names (or name patterns, as of :mod:`fnmatch`) that decay and penalties leave alone, or
        a predicate of the name. By default nothing is exempt, as in the chapter;
        ``fastreg.optim.BIASES_AND_SCALES`` is the usual choice.
    groups : dict, optional
        ``{pattern: {hyper-parameter: value}}`` for parameters whose names match; the first
        pattern that matches counts.
    on_nonfinite : {"propagate", "skip", "raise"}
        What a NaN or an infinity in any gradient does: spread as IEEE arithmetic has it, skip
        the step (counted in ``skipped``), or raise FloatingPointError. Nothing changes in the
        latter two.
    ema_decay : float, optional
        Decay of an exponential moving average of the parameters, in [0, 1); see ``swap_ema``.
    compat : {None, "torch", "keras", "optax"}
        Whose formula and default hyper-parameters to use where libraries disagree.

    Attributes
    ----------
    lr : float or function of the step
        The learning rate; assign a number or a schedule at any time. Reads as the rate of the
        next step.
    t : int
        Steps taken.
    skipped : int
        Steps skipped because of NaN or infinity.
    grad_norm : float
        Norm of the last gradients, if ``clip_norm`` or ``on_nonfinite`` asked for it.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Notes
    -----
    ``learning_rate`` and ``weight_decay`` take a number or a schedule: a function of the number
    of steps taken so far, so that the first step uses ``schedule(0)``.

    Examples
    --------
    >>> optimizer = fastreg.SGD(0.1, lambda_l1=1.0, l1_mode="prox", exclude=["*.b"])
    >>> params = {"0.W": np.array([0.05, -1.0]), "0.b": np.array([0.05])}
    >>> optimizer.update(params, {name: np.zeros_like(p) for name, p in params.items()})
    >>> params
    {'0.W': array([ 0. , -0.9]), '0.b': array([0.05])}
    """

    _defaults: dict[str, dict[str, float]] = {}  # library: {hyper-parameter: its default there}

    def __init__(
        self,
        rule,
        slots,
        hypers,
        *,
        l1_mode="subgradient",
        clip_norm=None,
        exclude=(),
        groups=None,
        on_nonfinite="propagate",
        ema_decay=None,
        compat=None,
        **services,
    ):
        unknown = [name for name in services if name not in SERVICES]
        if unknown:
            raise TypeError(f"{self._name}: got unknown arguments {', '.join(unknown)}")
        self._slots, self._hypers = slots, tuple(name for name in hypers if name != INITIAL)
        self._one_of("compat", compat, tuple(COMPAT))
        self._one_of("l1_mode", l1_mode, L1_MODES)
        self._one_of("on_nonfinite", on_nonfinite, NONFINITE)
        self._l1_mode = l1_mode
        patterns, overrides = self._checked_groups({} if groups is None else groups)
        self._compat, self._averaged = compat, ema_decay is not None
        values = {name: service[0] for name, service in SERVICES.items()} | hypers | services
        theirs = self._defaults.get(compat, {})
        for name, value in values.items():
            if isinstance(value, Default):
                value = theirs.get(name, float(value))
            values[name] = self._checked(name, value)
        if ema_decay is not None:
            values["ema_decay"] = _checks.number(
                self._name, "ema_decay", ema_decay, low=0.0, high=1.0, open_high=True
            )
        initial = values.pop(INITIAL, 0.0)
        self._updater = Updater(self._name, rule, 1 + len(overrides), initial, self._averaged)
        self._overrides = [{}, *overrides]
        for group, own in enumerate(self._overrides):
            self._updater.set_hyper("compat", float(COMPAT[compat]), group)
            for name, value in (values | own).items():
                self._set(name, value, group)
        if clip_norm is not None:
            clip_norm = _checks.number(self._name, "clip_norm", clip_norm, low=0.0, open_low=True)
        self._updater.clip_norm = clip_norm or 0.0
        self._updater.on_nonfinite = on_nonfinite
        self._exclude = self._checked_exclude(exclude)
        self._patterns = patterns
        if patterns or self._exclude:
            self._updater.assign = self._assign

    # --- hyper-parameters -----------------------------------------------------------------

    @property
    def _name(self):
        return type(self).__name__

    def _one_of(self, name, value, allowed):
        if value not in allowed:
            raise ValueError(f"{self._name}: {name} must be one of {allowed}, got {value!r}")

    def _bounds(self, name):
        if name in SERVICES:
            return SERVICES[name][1]
        if name == INITIAL:
            return {"low": 0.0}
        prop = getattr(type(self), "lr" if name == "learning_rate" else name, None)
        return getattr(getattr(prop, "fget", None), "bounds", None)

    def _checked(self, name, value):
        if callable(value) and name in SCHEDULED:
            return value
        if name == "clip_value" and (value is None or value == math.inf):
            return math.inf
        return _checks.number(self._name, name, value, **self._bounds(name))

    def _members(self, name):
        """The groups that share the common value of a hyper-parameter."""
        name = "lambda_l1" if name == "lambda_prox" else name
        return [group for group, own in enumerate(self._overrides) if name not in own]

    def _set(self, name, value, group):
        name = self._l1_name if name == "lambda_l1" else name
        self._updater.set_hyper(name, value, group)

    def _checked_groups(self, groups):
        where = f"{self._name}: groups"
        if not isinstance(groups, dict) or not all(isinstance(v, dict) for v in groups.values()):
            raise TypeError(f"{where} must be a dict of pattern: dict, got {groups!r}")
        overrides = []
        for pattern, own in groups.items():
            if not isinstance(pattern, str):
                raise TypeError(f"{where} must have patterns of names, got {pattern!r}")
            for name in own:
                if name not in (*self._hypers, *SERVICES):
                    raise ValueError(f"{where}[{pattern!r}] has no hyper-parameter {name!r}")
            overrides.append({name: self._checked(name, value) for name, value in own.items()})
        return list(groups), overrides

    def _checked_exclude(self, exclude):
        if callable(exclude):
            return exclude
        patterns = exclude if isinstance(exclude, str) or exclude is None else tuple(exclude)
        if not isinstance(patterns, tuple) or not all(isinstance(p, str) for p in patterns):
            raise TypeError(
                f"{self._name}: exclude must be a predicate or a list of name patterns, got "
                f"{exclude!r}"
            )
        return patterns

    def _assign(self, name):
        """The group of a parameter, and whether decay and penalties apply to it."""
        text = str(name)
        if callable(self._exclude):
            penalised = not self._exclude(name)
        else:
            penalised = not any(fnmatch.fnmatchcase(text, p) for p in self._exclude)
        for group, pattern in enumerate(self._patterns, 1):
            if fnmatch.fnmatchcase(text, pattern):
                return group, penalised
        return 0, penalised

    lr = hyper("learning_rate", "The learning rate of the next step.", low=0.0)
    weight_decay = hyper("weight_decay", "Decoupled decay of the next step.", low=0.0)
    lambda_l2 = hyper("lambda_l2", "Coupled L2 penalty.", low=0.0)
    clip_value = hyper("clip_value", "Largest absolute value of a gradient.", low=0.0)

    @property
    def lambda_l1(self):
        """L1 penalty, in the mode given to the constructor."""
        return self._updater.get_hyper(self._l1_name)

    @lambda_l1.setter
    def lambda_l1(self, value):
        checked = self._checked("lambda_l1", value)
        for group in self._members("lambda_l1"):
            self._updater.set_hyper(self._l1_name, checked, group)

    @property
    def _l1_name(self):
        return "lambda_l1" if self._l1_mode == "subgradient" else "lambda_prox"

    # --- steps ----------------------------------------------------------------------------

    @property
    def t(self):
        """Steps taken."""
        return self._updater.t

    @t.setter
    def t(self, value):
        self._updater.t = _checks.integer(self._name, "t", value, low=0, high=2**62)

    @property
    def skipped(self):
        """Steps skipped because a gradient was not finite."""
        return self._updater.skipped

    @property
    def grad_norm(self):
        """Norm of the last gradients, if clip_norm or on_nonfinite asked for it; else NaN."""
        return self._updater.grad_norm

    @property
    def ema(self):
        """Moving averages of the parameters, by name; empty without ``ema_decay``."""
        return MappingProxyType(self._updater.slot(len(self._slots)) if self._averaged else {})

    def update(self, params, grads):
        """Advance every parameter by one step, in place.

        Parameters
        ----------
        params : dict or list of ndarray
            float32 or float64 arrays of any shape, C- or F-contiguous, writeable, sharing no
            memory; the two dtypes may be mixed. New names may join at any step. Python floats
            and NumPy scalars are allowed as values; such an entry is replaced by the new number.
        grads : dict or list of ndarray
            One gradient a parameter, of its name, shape and dtype, in any memory layout.

        Raises
        ------
        TypeError
            If a container or an entry is of the wrong kind or dtype.
        ValueError
            If names or shapes differ, a parameter is read-only, not contiguous, or shares
            memory with another, or a schedule gives no finite number of at least 0.
        FloatingPointError
            If a gradient is not finite and ``on_nonfinite="raise"``.

        Notes
        -----
        Everything is checked before the first parameter is changed, and an interrupt (Ctrl-C)
        takes effect before or after the whole step.
        """
        self._updater.update(params, grads)

    def swap_ema(self):
        """Exchange the parameters of the last update with their averages, in place.

        Call it before an evaluation and again after it.

        Raises
        ------
        RuntimeError
            If there are no averages yet.
        """
        self._updater.swap_averages()

    # --- state ----------------------------------------------------------------------------

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

    def _hyper_names(self):
        return [
            *self._hypers,
            "weight_decay",
            "lambda_l1",
            "lambda_l2",
            "lambda_prox",
            "clip_value",
        ]

    def _slot_names(self):
        return [*self._slots, "ema"] if self._averaged else list(self._slots)

    def __repr__(self):
        rate = self._updater.get_hyper("learning_rate")
        return f"<{self._name} lr={rate if callable(rate) else format(rate, 'g')} t={self.t}>"
