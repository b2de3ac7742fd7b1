"""The families of schedules."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING

from fastreg.schedule import family as base
from fastreg.schedule.steps import descend, grow, mix, ramp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastreg._core.types import ScheduleLike

__all__ = [
    "constant",
    "cosine",
    "exponential",
    "inverse_time",
    "join",
    "linear",
    "multi_step",
    "one_cycle",
    "polynomial",
    "step",
    "warm_restarts",
    "warmup",
    "warmup_stable_decay",
]


@base.family
class constant(base.Schedule):
    """The same value at every step.

    Examples
    --------
    >>> constant(0.1)(1_000_000)
    0.1
    """

    value: float = base.amount()

    def _at(self, t):
        return self.value


@base.family
class step(base.Schedule):
    """Multiply by ``drop_factor`` every ``drop_every`` steps.

    ``initial_value * drop_factor ** floor(step / drop_every)``; a factor above 1 grows.

    Examples
    --------
    >>> step(0.1, drop_factor=0.5, drop_every=10)(20)
    0.025
    """

    initial_value: float = base.amount()
    drop_factor: float = base.factor(default=0.5)
    drop_every: int = base.count(default=10)

    def _at(self, t):
        return grow(self.initial_value, self.drop_factor, t // self.drop_every)


@base.family
class multi_step(base.Schedule):
    """Multiply by ``drop_factor``, above 0, at each of the ``milestones`` (increasing steps).

    Examples
    --------
    >>> multi_step(0.8, [30, 80], drop_factor=0.5)([29, 30, 80]).tolist()
    [0.8, 0.4, 0.2]
    """

    initial_value: float = base.amount()
    milestones: Sequence[int] = base.step_list()
    drop_factor: float = base.factor(default=0.1)

    def _at(self, t):
        return grow(self.initial_value, self.drop_factor, bisect_right(self.milestones, t))


@base.family
class exponential(base.Schedule):
    """Decay as ``initial_value * decay_rate ** (step / decay_steps)``; a rate above 1 grows.

    Examples
    --------
    >>> exponential(0.8, 0.5, decay_steps=100)(200)
    0.2
    """

    initial_value: float = base.amount()
    decay_rate: float = base.factor()
    decay_steps: int = base.count(default=1, kw_only=True)

    def _at(self, t):
        return grow(self.initial_value, self.decay_rate, t / self.decay_steps)


@base.family
class inverse_time(base.Schedule):
    """Decay as ``initial_value / (1 + decay_rate * step / decay_steps)`` (Robbins & Monro, 1951).

    Examples
    --------
    >>> inverse_time(0.1, 1.0, decay_steps=10)(30)
    0.025
    """

    initial_value: float = base.amount()
    decay_rate: float = base.amount()
    decay_steps: int = base.count(default=1, kw_only=True)

    def _at(self, t):
        slower = 1.0 + self.decay_rate * (t / self.decay_steps)
        if slower < math.inf:
            return self.initial_value / slower
        return self.initial_value / self.decay_rate / (t / self.decay_steps)


@base.family
class polynomial(base.Schedule):
    """Go from ``initial_value`` to ``final_value`` in ``total_steps``, then stay.

    ``final + (initial - final) * (1 - step / total_steps) ** power``, power > 0.

    Examples
    --------
    >>> polynomial(0.4, 0.0, 100, power=2.0)([0, 50, 100, 999]).tolist()
    [0.4, 0.1, 0.0, 0.0]
    """

    initial_value: float = base.amount()
    final_value: float = base.amount()
    total_steps: int = base.count()
    power: float = base.amount(default=1.0, kw_only=True, open_low=True)

    def _at(self, t):
        done, total = min(t, self.total_steps), self.total_steps
        left = (total - done) / total
        return mix(self.initial_value, self.final_value, left, done / total, self.power)


def linear(initial_value: float, final_value: float, total_steps: int) -> polynomial:
    """Go from ``initial_value`` to ``final_value`` in a straight line, then stay.

    Examples
    --------
    >>> linear(0.5, 0.25, total_steps=100)([0, 50, 100, 999]).tolist()
    [0.5, 0.375, 0.25, 0.25]
    """
    return polynomial(initial_value, final_value, total_steps)


@base.family
class cosine(base.Schedule):
    """Half a cosine from ``initial_value`` to ``final_value`` in ``total_steps``, then stay.

    ``final + (initial - final) * (1 + cos(pi * step / total_steps)) / 2``
    (Loshchilov & Hutter, 2017). `fastreg.cosine_annealing` is the same, but rises again.

    Examples
    --------
    >>> cosine(0.1, total_steps=100)([0, 50, 100, 999]).tolist()
    [0.1, 0.05, 0.0, 0.0]
    """

    initial_value: float = base.amount()
    total_steps: int = base.count()
    final_value: float = base.amount(default=0.0)

    def _at(self, t):
        return descend(t, self.initial_value, self.final_value, self.total_steps)


@base.family
class warm_restarts(base.Schedule):
    """Repeated cosine descents, SGDR (Loshchilov & Hutter, 2017).

    Descent k takes ``period * period_factor ** k`` steps, from
    ``final + (initial - final) * peak_factor ** k`` towards ``final_value``. ``period_factor`` is
    an integer, so that every restart, however late, falls on an exact step.

    Examples
    --------
    >>> warm_restarts(0.1, 10, period_factor=2)([0, 5, 10, 20, 30]).tolist()
    [0.1, 0.05, 0.1, 0.05, 0.1]
    """

    initial_value: float = base.amount()
    period: int = base.count()
    final_value: float = base.amount(default=0.0)
    period_factor: int = base.count(default=1, kw_only=True)
    peak_factor: float = base.factor(default=1.0, kw_only=True)

    def _at(self, t):
        period = self.period
        if self.period_factor == 1:
            k, t = divmod(t, period)
        else:
            k = 0
            while t >= period:
                t, period, k = t - period, period * self.period_factor, k + 1
        peak, final = self.initial_value, self.final_value
        if k:
            peak = max(0.0, final + grow(peak - final, self.peak_factor, k))
        return descend(t, peak, final, period)


@base.family
class one_cycle(base.Schedule):
    """One rise and one descent, both half cosines (Smith & Topin, 2018).

    From ``peak_value / div_factor`` to the peak in ``warmup_fraction * total_steps``, then down
    to ``peak_value / (div_factor * final_div_factor)`` at ``total_steps``, where it stays.

    Examples
    --------
    >>> one_cycle(0.1, 100, div_factor=10.0, warmup_fraction=0.25)([0, 25]).tolist()
    [0.01, 0.1]
    """

    peak_value: float = base.amount()
    total_steps: int = base.count()
    warmup_fraction: float = base.amount(default=0.3, kw_only=True, high=1.0, open_high=True)
    div_factor: float = base.amount(default=25.0, kw_only=True, low=1.0)
    final_div_factor: float = base.amount(default=1e4, kw_only=True, low=1.0)

    def _at(self, t):
        low, rise = (self.peak_value / self.div_factor, self.warmup_fraction * self.total_steps)
        if t < rise:
            return descend(t, low, self.peak_value, rise)
        final = low / self.final_div_factor
        length, left = self.total_steps - rise, self.total_steps - t
        return descend(t - rise, self.peak_value, final, length, left)


@base.family
class warmup_stable_decay(base.Schedule):
    """Ramp to ``peak_value``, hold it, then decay to ``final_value`` and stay (Hu et al., 2024).

    The ramp is that of `warmup`; ``stable_steps`` later the value falls within ``decay_steps`` as
    ``1 - u ** decay_power``: 1.0 is a line, 0.5 the square-root form of Hägele et al. (2024).

    Examples
    --------
    >>> warmup_stable_decay(0.5, 5, 80, 15)([0, 4, 84, 85, 100]).tolist()
    [0.1, 0.5, 0.5, 0.5, 0.0]
    """

    peak_value: float = base.amount()
    warmup_steps: int = base.count(low=0)
    stable_steps: int = base.count(low=0)
    decay_steps: int = base.count()
    final_value: float = base.amount(default=0.0, kw_only=True)
    decay_power: float = base.amount(default=1.0, kw_only=True, open_low=True)

    def _at(self, t):
        if t < self.warmup_steps:
            return ramp(t, self.peak_value, self.warmup_steps)
        total = self.decay_steps
        done = min(max(t - self.warmup_steps - self.stable_steps, 0), total)
        left = (total - done) / total
        return mix(self.final_value, self.peak_value, done / total, left, self.decay_power)


@base.family
class join(base.Schedule):
    """Run one schedule after another, each counting from its own first step.

    ``schedules[i]`` takes over at step ``boundaries[i - 1]``; there is one boundary fewer than
    there are schedules. A schedule may be any function of the step.

    Examples
    --------
    >>> join([constant(0.1), linear(0.1, 0.0, 10)], [5])([4, 5, 10, 15]).tolist()
    [0.1, 0.1, 0.05, 0.0]
    """

    schedules: Sequence[ScheduleLike] = base.schedule_list()
    boundaries: Sequence[int] = base.step_list()

    def __post_init__(self) -> None:
        """Check every argument, then that their lengths agree."""
        base.Schedule.__post_init__(self)  # slots make a new class: no bare super()
        if len(self.boundaries) != len(self.schedules) - 1:
            n, got = len(self.schedules) - 1, len(self.boundaries)
            raise ValueError(f"join: boundaries must hold {n} for {n + 1} schedules, got {got}")

    def _at(self, t):
        i = bisect_right(self.boundaries, t)
        return self.schedules[i](t - self.boundaries[i - 1] if i else t)


@base.family
class warmup(base.Schedule):
    """Ramp up to the first value of ``schedule`` in ``warmup_steps``, then run it from its start.

    ``schedule(0) * (step + 1) / warmup_steps`` while ``step < warmup_steps``, afterwards
    ``schedule(step - warmup_steps)`` (Goyal et al., 2017). Zero steps mean no warm-up.

    Examples
    --------
    >>> warmup(cosine(0.1, 95), warmup_steps=5)([0, 4, 5, 100]).tolist()
    [0.02, 0.1, 0.1, 0.0]
    """

    schedule: ScheduleLike = base.one_schedule()
    warmup_steps: int = base.count(default=5, low=0)

    def _at(self, t):
        if t < self.warmup_steps:
            return ramp(t, self.schedule(0), self.warmup_steps)
        return self.schedule(t - self.warmup_steps)
