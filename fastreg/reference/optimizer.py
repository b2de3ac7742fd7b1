"""The plain loop of every optimizer, and the services in their order.

A rule is two methods: ``scalars`` computes what a step needs once, from the hyper-parameters of
the parameter's group and its own count of steps; ``move`` updates the state of one tensor and
returns what is subtracted from the parameter, and the denominator of the rule's metric.
"""

from __future__ import annotations

import fnmatch
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.reference.coded import ROOTED, SMALL, block_pieces, decoded, encoded, whole_blocks
from fastreg.reference.halves import PARAM_DRAW, RUN, is_half, rounded, widened
from fastreg.reference.narrow import NARROW_KINDS, narrowed, pieces_of, wide
from fastreg.reference.random import draw_key

if TYPE_CHECKING:
    from fastreg._core.types import Number, Seed

__all__ = ["Optimizer"]

BLOCK, LANES = 16384, 16


def laid_out(grad: Any, theta: Any) -> Any:
    """A gradient in its parameter's dtype and layout; a plain number is every element's."""
    grad = np.asarray(grad)
    if (grad.dtype.kind == "f" or is_half(grad)) and grad.shape == np.shape(theta):
        laid = np.empty_like(theta, dtype=grad.dtype, subok=False)
    else:
        laid = np.empty_like(theta, subok=False)
    laid[...] = grad
    return laid


#: By item size: LARGE and SMALL, whose squares are near the ends of the range, and the units,
#: powers of two, that scale such numbers to the middle of the range.
RANGE = {
    4: (2.0**60, 2.0**-40, 2.0**-80, 2.0**100),
    8: (2.0**500, 2.0**-400, 2.0**-600, 2.0**700),
}


def units(g: Any, v: Any, floor: Any) -> Any:
    """The factor for g and the root of v: 1, except where squares leave the range."""
    large, small, large_unit, small_unit = RANGE[v.dtype.itemsize]
    low = small if floor < small else 0.0
    high = (abs(g) > large) | (v > large * large) | (v < -large)
    deep = (abs(g) < low) & (v < low * low) & (v > -low)
    unit = np.where(high, large_unit, np.where(deep, small_unit, 1.0)).astype(v.dtype)
    return unit, 1 / unit


def in_units(v: Any, unit: Any) -> Any:
    """V in square units; a negative v is minus its root."""
    return v * unit * np.where(v < 0, v * unit, unit)


def held(v: Any, root: Any, back: Any) -> Any:
    """The v to store: minus its root where the dtype cannot hold it."""
    ends, plain = np.finfo(root.dtype), v * back * back
    fits = (plain <= ends.max) & ((plain >= ends.tiny) | (back == 1))
    return np.where(fits, plain, np.where(root <= ends.max, 0 - root, root))[()]


def root_mean_square(
    v: Any, g: Any, keep: Any, feed: Any, *, inside: float = 0.0, floor: Any = math.inf
) -> Any:
    """``v = keep v + feed g^2``; return v as it is stored and ``sqrt(v + inside)``."""
    unit, back = units(g, v, floor)
    mean = keep * in_units(v, unit) + feed * (g * unit * (g * unit))
    root = np.sqrt(mean + inside * unit * unit) * back
    return held(mean, root, back), root


def sum_of_squares(x: Any) -> float:
    """The sum of a run in float64, in the kernels' order: lanes, pairs of lanes."""
    lanes = np.pad(x, (0, -x.size % LANES)).reshape(-1, LANES)
    sums = np.add.reduce(lanes * lanes, axis=0)
    while sums.size > 1:
        sums = sums[: sums.size // 2] + sums[sums.size // 2 :]
    return float(sums[0])


def squares(x: Any, unit: Any = 1.0, half: bool = False) -> Any:
    """Sums of x^2 over blocks; where parameters have 16 bits, a block is summed run by run."""
    run = RUN if half or is_half(x) else BLOCK
    x = unit * np.ravel(x, order="K").astype(np.float64)
    for start in range(0, x.size, BLOCK):
        total, stop = 0.0, min(start + BLOCK, x.size)
        for i in range(start, stop, run):
            total += sum_of_squares(x[i : min(i + run, stop)])  # in this order: sum() compensates
        yield total


def total_of(arrays: Any, unit: Any = 1.0, half: bool = False) -> Any:
    """The sum of all squares, block by block."""
    total = 0.0
    for block in (block for array in arrays for block in squares(array, unit, half)):
        total += block
    return total


def norm_of(x: Any, half: bool = False) -> float:
    """The root of the sum of all squares, which is right where they leave the range of float64."""
    total, unit = total_of([x], 1.0, half), 1.0
    if np.asarray(x).dtype == np.float64 and not 1e-280 <= total < math.inf:
        unit = 2.0**540 if total < 1e-280 else 2.0**-540
        total = total_of([x], unit)
    return math.sqrt(total) / unit


def shrink(theta: Any, threshold: float) -> Any:
    """Soft threshold, the proximal operator of ``threshold * |theta|``."""
    inside = np.where(np.isnan(theta), theta, theta.dtype.type(0.0))
    below = np.where(theta < -threshold, theta + threshold, inside)
    return np.where(theta > threshold, theta - threshold, below)[()]


class Optimizer:
    """The loop, and the services in their order."""

    last: Any
    steps: dict[Any, int]
    memory: dict[Any, float]
    count: int
    start: int
    skipped: int
    grad_norm: float
    exclude: Any
    clip_norm: float | None
    l1_mode: str
    on_nonfinite: str
    groups: Any
    compat: Any
    ema_decay: float | None
    ema: Any
    initial: Any
    maximize: bool
    state_dtype: str | None
    master: bool
    masters: Any
    key: Any

    #: How a slot is rounded where state is narrow: to the nearest, drawn, or kept in full.
    kinds: dict[str, str] = NARROW_KINDS

    #: The decays of first moments.
    first_decays: tuple[str, ...] = ("momentum", "beta1")

    #: The libraries whose weight_decay is added to the gradient.
    couples: tuple[str, ...] = ("torch",)

    def __init__(
        self,
        slots: Any,
        hypers: Any,
        *,
        weight_decay: Number = 0.0,
        lambda_l2: float = 0.0,
        lambda_l1: float = 0.0,
        l1_mode: str = "subgradient",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        exclude: Any = (),
        groups: Any = None,
        on_nonfinite: str = "propagate",
        ema_decay: float | None = None,
        maximize: bool = False,
        compat: Any = None,
        state_dtype: str | None = None,
        master: bool = False,
        rng: Seed = None,
    ) -> None:
        services = {"weight_decay": weight_decay, "lambda_l2": lambda_l2, "lambda_l1": lambda_l1}
        self.hypers: Any = hypers | services | {"clip_value": clip_value}
        self.l1_mode, self.clip_norm, self.exclude = l1_mode, clip_norm, exclude
        self.groups, self.on_nonfinite = groups or {}, on_nonfinite
        self.ema_decay, self.maximize, self.compat = ema_decay, maximize, compat
        self.state_dtype, self.master, self.masters = state_dtype, master, {}
        self.key = draw_key(rng) if state_dtype or rng is not None else None
        self.state: dict[str, Any] = {name: {} for name in slots}
        self.initial = dict.fromkeys(slots, 0.0)
        self.ema, self.last = {}, {}
        self.steps = {}  # taken, by name
        self.memory = {}  # the rule's number, by name
        self.start = 0
        self.count = self.skipped = 0
        self.grad_norm = math.nan

    @property
    def averaged(self) -> bool:
        """Whether there are averages of the parameters."""
        return self.ema_decay is not None

    @property
    def t(self) -> int:
        """Steps taken; an assigned number is the count of every parameter, too."""
        return self.count

    @t.setter
    def t(self, value: int) -> None:
        self.count = self.start = value
        self.steps = dict.fromkeys(self.steps, value)
        self.memory = {} if value == 0 else self.memory

    def __getattr__(self, name: Any) -> Any:
        if name in self.__dict__.get("state", {}):
            return self.state[name]
        raise AttributeError(name)

    def __setattr__(self, name: Any, value: Any) -> None:
        slots = self.__dict__.get("state", {})
        if name not in slots:
            object.__setattr__(self, name, value)
            return
        slots[name] = dict(value)
        if name == next(iter(slots)):  # a name that is not in the first slot starts again
            self.steps = {key: self.steps.get(key, self.count) for key in value}
            self.memory = {key: self.memory.get(key, 1.0) for key in value}

    @property
    def lr(self) -> Any:
        """The learning rate, a number or a schedule."""
        return self.hypers["learning_rate"]

    @lr.setter
    def lr(self, value: Any) -> None:
        self.hypers["learning_rate"] = value

    def update(self, params: Any, grads: Any) -> None:
        """Advance one step; arrays change in place, scalar entries are replaced."""
        names = list(params) if isinstance(params, dict) else range(len(params))
        grads = {
            name: laid_out(grads[name], params[name]) for name in names if grads[name] is not None
        }
        scale = self.gradient_scale(grads.values())
        if scale is None:
            self.skipped += 1
            return
        scale = (-scale[0] if self.maximize else scale[0]), scale[1]
        groups = {pattern: self.hypers_of(pattern) for pattern in (None, *self.groups)}
        self.count += 1
        firsts, first = {}, 0  # an element's number in bits drawn: tensors begin at multiples of 64
        for name in names:
            firsts[name], first = first, first + -(-np.size(params[name]) // 64) * 64
        for name, grad in grads.items():
            h = groups[self.group_of(name)]
            t = self.steps.get(name, self.start) + 1
            s = self.scalars(h, t, self.memory.get(name, 1.0))
            s["number"] = firsts[name]
            self.step(params, name, grad, scale, h, s)
            self.steps[name], self.memory[name] = t, s.get("memory", 1.0)
        self.last, self.start = params, 0

    def gradient_scale(self, grads: Any) -> Any:
        """The factors that clip the global norm; None if the step is to be skipped."""
        if self.clip_norm is None and self.on_nonfinite == "propagate":
            return 1.0, 1.0
        total, unit = total_of(grads), 1.0
        finite = all(np.isfinite(g).all() for g in grads)
        if finite and not 1e-280 <= total < math.inf:
            unit = 2.0**540 if total < 1e-280 else 2.0**-540
            total = total_of(grads, unit)
        self.grad_norm = math.sqrt(total) / unit
        if not finite and self.on_nonfinite == "raise":
            raise FloatingPointError("gradients must be finite")
        if not finite and self.on_nonfinite == "skip":
            return None
        slack = 1e-6 * unit if self.compat == "torch" else 0.0
        root = math.sqrt(total) + slack
        if self.clip_norm is None or not finite or self.clip_norm * unit >= root:
            return 1.0, 1.0
        scale, unit = self.clip_norm / root * max(unit, 1.0), min(unit, 1.0)
        if unit == 1.0 and scale < 1e-30:
            unit = 2.0**-60 if scale > 1e-280 else 2.0**-540
            scale = self.clip_norm / unit / root
        return scale, unit

    def step(self, params: Any, name: Any, g: Any, scale: Any, h: Any, s: Any) -> None:
        """Advance one parameter by its group's hyper-parameters and scalars."""
        kept, theta = params[name], params[name]
        s["half"] = is_half(kept)
        if s["half"]:
            theta, g = self.floats_of(name, kept), widened(g)
        penalised = not self.excluded(name)
        decay = h["weight_decay"] if penalised else 0.0
        coupled = self.compat in self.couples
        l2 = (h["lambda_l2"] if penalised else 0.0) + (decay if coupled else 0.0)
        l1 = h["lambda_l1"] if penalised and self.l1_mode == "subgradient" else 0.0
        prox = h["lambda_l1"] if penalised and self.l1_mode == "prox" else 0.0
        keep = 1.0 if coupled else 1.0 - h["learning_rate"] * decay
        clip = math.inf if h["clip_value"] is None else h["clip_value"]
        served = (*scale, clip, l2, l1, prox) != (1.0, 1.0, math.inf, 0.0, 0.0, 0.0)
        served = served or self.averaged
        if served:
            g = np.clip(g * scale[1] * scale[0], -clip, clip)
            g = g + ((l2 * theta if l2 else -0.0) + (l1 * np.sign(theta) if l1 else -0.0))
        state = {}
        for slot, known in self.state.items():
            first = self.initial[slot]
            first = np.array(theta) if first is None else np.full_like(theta, first, subok=False)
            before = known[name] if name in known and name in self.steps else None
            if before is None:
                before = self.kept(slot, first)
            state[slot] = self.floats(slot, before, s)
        if self.ema_decay is not None:
            fresh = self.count == 1 and self.compat in ("torch", "keras")
            s["average"] = 0.0 if fresh else self.ema_decay
            s["one_minus_average"] = 1.0 - s["average"]
        s |= {"theta": theta, "decay": 0.0 if coupled else decay, "keep": keep}
        s["penalised"] = penalised
        move, denominator = self.move(g, state, s)
        average = self.ema.get(name, np.array(theta))
        keep = s["keep"]
        moved = theta * keep - move if served or keep != 1.0 else theta - move
        if "z" in state:
            moved = state["z"] - (move + s["decay"] * theta if s["decay"] else move)
        if prox:
            threshold = prox * s["metric"] * s.get("ratio", 1.0) / denominator
            moved = shrink(np.asarray(moved), threshold)
        if self.averaged:
            before = s["average"] * average if s["average"] else 0.0
            average = self.ema[name] = before + s["one_minus_average"] * moved
        if "z" in state:
            state["z"] = np.asarray(moved)[()]
            moved = s["beta1"] * average + (1.0 - s["beta1"]) * moved
        for slot, known in self.state.items():
            if slot in s.get("kept", {}):
                known[name] = s["kept"][slot]
            else:
                known[name] = self.narrow(slot, state[slot], s)
        if s["half"]:
            self.put_half(name, kept, np.asarray(moved), s)
        elif isinstance(theta, np.ndarray):
            theta[...] = moved
        else:
            params[name] = np.asarray(moved)[()]

    def unsigned(self, slot: str) -> bool:
        """Whether a slot has no sign, where it is kept in a byte."""
        return self.kinds[slot] == "d" or slot == "peak"

    def kept(self, slot: str, value: Any) -> Any:
        """A slot's first value as it is kept: as it is, or rounded to the nearest."""
        if self.state_dtype is None or self.kinds[slot] == "f":
            return value
        if self.state_dtype == "int8":
            return encoded(value, self.unsigned(slot))
        return narrowed(value)

    def floats(self, slot: str, value: Any, s: Any) -> Any:
        """A slot as the rule takes it, from what is kept."""
        if self.state_dtype is None or self.kinds[slot] == "f":
            return value
        if self.state_dtype == "int8":
            floor = s.get("floor", s.get("epsilon", math.inf))
            rooted = slot in ROOTED and floor < SMALL
            return decoded(value, self.unsigned(slot), rooted)
        return wide(value)

    def narrow(self, slot: str, value: Any, s: Any) -> Any:
        """A slot as it is kept: as it is, or rounded to the nearest or by draws."""
        if self.state_dtype is None or self.kinds[slot] == "f":
            return value
        if self.state_dtype == "int8":
            k = list(self.state).index(slot)
            first = s["number"] + (k // 2 << 60)
            drawn = pieces_of(self.key, self.count - 1, first, whole_blocks(np.size(value)))
            pieces = block_pieces(drawn, k % 2)[: np.size(value)]
            return encoded(value, self.unsigned(slot), pieces)
        drawn = [name for name in self.state if self.kinds[name] in ("dn" if self.slow(s) else "d")]
        if slot not in drawn:
            return narrowed(np.asarray(value))
        first = s["number"] + (drawn.index(slot) << 60)
        return narrowed(
            np.asarray(value), pieces_of(self.key, self.count - 1, first, np.size(value))
        )

    def floats_of(self, name: Any, theta: Any) -> Any:
        """What takes the steps of a parameter of 16 bits: its master, if nobody has written to it.

        A parameter that is not what its master rounds to is what counts.
        """
        floats, master = widened(theta), self.masters.get(name)
        if master is None:
            return floats
        same = rounded(master, theta.dtype).view(np.uint16) == theta.view(np.uint16)
        return np.where(same, master, floats)

    def put_half(self, name: Any, theta: Any, moved: Any, s: Any) -> None:
        """Round to a parameter of 16 bits: to the nearest from a master, else by draws."""
        if self.master:
            self.masters[name] = moved
            theta[...] = rounded(moved, theta.dtype)
            return
        if self.key is None:
            self.key = draw_key(None)
        first = s["number"] + (PARAM_DRAW << 60)
        pieces = pieces_of(self.key, self.count - 1, first, theta.size)
        theta[...] = rounded(moved, theta.dtype, pieces)

    def slow(self, s: Any) -> bool:
        """Whether first moments forget less than a hundredth per step; they are drawn then."""
        return any(s.get(name, 0.0) > 0.99 for name in self.first_decays)

    def group_of(self, name: Any) -> Any:
        """The first pattern that a name falls under, or None."""
        return next((p for p in self.groups if fnmatch.fnmatchcase(str(name), p)), None)

    def hypers_of(self, pattern: Any) -> Any:
        """The hyper-parameters of a group at the coming step."""
        h = self.hypers | self.groups.get(pattern, {})
        return {k: v(self.t) if callable(v) else v for k, v in h.items()}

    def excluded(self, name: Any) -> Any:
        """Whether decay and penalties leave a name alone."""
        if callable(self.exclude):
            return self.exclude(name)
        return any(fnmatch.fnmatchcase(str(name), pattern) for pattern in self.exclude)

    def swap_ema(self) -> None:
        """Exchange the parameters of the last update with their averages; others stay."""
        names = self.last if isinstance(self.last, dict) else range(len(self.last))
        for name in filter(self.ema.__contains__, names):
            live, average = np.array(self.last[name]), self.ema[name]
            if is_half(live):
                live, self.masters[name] = self.masters[name], average
                average = rounded(average, self.last[name].dtype)
            if isinstance(self.last[name], np.ndarray):
                self.last[name][...] = average
            else:
                self.last[name] = average
            self.ema[name] = live[()]
