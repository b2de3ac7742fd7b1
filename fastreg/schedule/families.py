"""The families of schedules."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast, overload

from fastreg.schedule import family as base
from fastreg.schedule.steps import descend, grow, mix, ramp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastreg._core.types import Length

__all__ = [
    "constant",
    "cosine",
    "exponential",
    "inverse_time",
    "linear",
    "multi_step",
    "one_cycle",
    "polynomial",
    "step",
    "warm_restarts",
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

    def _at(self, t: Any) -> Any:
        return self.value


@base.family
class step(base.Schedule):
    """Multiply by ``drop_factor`` every ``drop_every`` (or ``every``) steps.

    ``initial_value * drop_factor ** floor(step / drop_every)``; a factor above 1 grows.

    Examples
    --------
    >>> step(0.1, drop_factor=0.5, drop_every=10)(20)
    0.025
    >>> step(0.1, 0.5, every="10 epochs").bind(steps_per_epoch=100)(2000)
    0.025
    """

    if TYPE_CHECKING:

        def __init__(
            self, initial_value: float, drop_factor: float = ..., drop_every: Length = ...,
            *, every: Length = ...,
        ) -> None: ...  # fmt: skip

    initial_value: float = base.amount()
    drop_factor: float = base.factor(default=0.5)
    drop_every: Length = base.steps(default=10, short="every")

    def _at(self, t: Any) -> Any:
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
    milestones: Sequence[Length] = base.step_list()
    drop_factor: float = base.factor(default=0.1)

    def _at(self, t: Any) -> Any:
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
    decay_steps: Length = base.steps(default=1, kw_only=True)

    def _at(self, t: Any) -> Any:
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
    decay_steps: Length = base.steps(default=1, kw_only=True)

    def _at(self, t: Any) -> Any:
        slower = 1.0 + self.decay_rate * (t / self.decay_steps)
        if slower < math.inf:
            return self.initial_value / slower
        return self.initial_value / self.decay_rate / (t / self.decay_steps)


@base.family
class polynomial(base.Schedule):
    """Go from ``initial_value`` to ``final_value`` in ``total_steps`` (or ``total``), then stay.

    ``final + (initial - final) * (1 - step / total_steps) ** power``, power > 0.

    Examples
    --------
    >>> polynomial(0.4, 0.0, 100, power=2.0)([0, 50, 100, 999]).tolist()
    [0.4, 0.1, 0.0, 0.0]
    """

    if TYPE_CHECKING:

        @overload
        def __init__(
            self, initial_value: float, final_value: float, total_steps: Length, *,
            power: float = ...,
        ) -> None: ...  # fmt: skip
        @overload
        def __init__(
            self, initial_value: float, final_value: float, *, total: Length, power: float = ...
        ) -> None: ...  # fmt: skip
        def __init__(self, *arguments: Any, **named: Any) -> None: ...

    initial_value: float = base.amount()
    final_value: float = base.amount()
    total_steps: Length = base.steps(short="total")
    power: float = base.amount(default=1.0, kw_only=True, open_low=True)

    def _at(self, t: Any) -> Any:
        done, total = min(t, self.total_steps), self.total_steps
        left = (total - done) / total
        return mix(self.initial_value, self.final_value, left, done / total, self.power)


@base.family
class linear(base.Schedule):
    """Go from ``initial_value`` to ``final_value`` in ``total_steps`` (or ``total``), then stay.

    In a straight line: `polynomial` with a power of 1.

    Examples
    --------
    >>> linear(0.5, 0.25, total_steps=100)([0, 50, 100, 999]).tolist()
    [0.5, 0.375, 0.25, 0.25]
    """

    if TYPE_CHECKING:

        @overload
        def __init__(
            self, initial_value: float, final_value: float, total_steps: Length
        ) -> None: ...  # fmt: skip
        @overload
        def __init__(
            self, initial_value: float, final_value: float, *, total: Length
        ) -> None: ...  # fmt: skip
        def __init__(self, *arguments: Any, **named: Any) -> None: ...

    initial_value: float = base.amount()
    final_value: float = base.amount()
    total_steps: Length = base.steps(short="total")

    def _at(self, t: Any) -> Any:
        done, total = min(t, self.total_steps), self.total_steps
        left = (total - done) / total
        return mix(self.initial_value, self.final_value, left, done / total, 1.0)


@base.family
class cosine(base.Schedule):
    """Half a cosine from ``initial_value`` to ``final_value`` in ``total_steps`` (or ``total``).

    ``final + (initial - final) * (1 + cos(pi * step / total_steps)) / 2``
    (Loshchilov & Hutter, 2017), then it stays. `fastreg.cosine_annealing` is the same, but rises
    again.

    Examples
    --------
    >>> cosine(0.1, total_steps=100)([0, 50, 100, 999]).tolist()
    [0.1, 0.05, 0.0, 0.0]
    >>> cosine(0.1, total="fit").bind(steps_per_epoch=20, epochs=5)(50)
    0.05
    """

    if TYPE_CHECKING:

        @overload
        def __init__(
            self, initial_value: float, total_steps: Length, final_value: float = ...
        ) -> None: ...  # fmt: skip
        @overload
        def __init__(
            self, initial_value: float, *, total: Length, final_value: float = ...
        ) -> None: ...  # fmt: skip
        def __init__(self, *arguments: Any, **named: Any) -> None: ...

    initial_value: float = base.amount()
    total_steps: Length = base.steps(short="total")
    final_value: float = base.amount(default=0.0)

    def _at(self, t: Any) -> Any:
        total: Any = self.total_steps
        return descend(t, self.initial_value, self.final_value, total)


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
    period: Length = base.steps()
    final_value: float = base.amount(default=0.0)
    period_factor: int = base.count(default=1, kw_only=True)
    peak_factor: float = base.factor(default=1.0, kw_only=True)

    def _at(self, t: Any) -> Any:
        period: Any = self.period
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
    to ``peak_value / (div_factor * final_div_factor)`` at ``total_steps`` (or ``total``),
    where it stays.

    Examples
    --------
    >>> one_cycle(0.1, 100, div_factor=10.0, warmup_fraction=0.25)([0, 25]).tolist()
    [0.01, 0.1]
    """

    if TYPE_CHECKING:

        @overload
        def __init__(
            self, peak_value: float, total_steps: Length, *, warmup_fraction: float = ...,
            div_factor: float = ..., final_div_factor: float = ...,
        ) -> None: ...  # fmt: skip
        @overload
        def __init__(
            self, peak_value: float, *, total: Length, warmup_fraction: float = ...,
            div_factor: float = ..., final_div_factor: float = ...,
        ) -> None: ...  # fmt: skip
        def __init__(self, *arguments: Any, **named: Any) -> None: ...

    peak_value: float = base.amount()
    total_steps: Length = base.steps(short="total")
    warmup_fraction: float = base.amount(default=0.3, kw_only=True, high=1.0, open_high=True)
    div_factor: float = base.amount(default=25.0, kw_only=True, low=1.0)
    final_div_factor: float = base.amount(default=1e4, kw_only=True, low=1.0)

    def _at(self, t: Any) -> Any:
        low, total = self.peak_value / self.div_factor, cast("Any", self.total_steps)
        rise = self.warmup_fraction * total
        if t < rise:
            return descend(t, low, self.peak_value, rise)
        final = low / self.final_div_factor
        length, left = total - rise, total - t
        return descend(t - rise, self.peak_value, final, length, left)


@base.family
class warmup_stable_decay(base.Schedule):
    """Ramp to ``peak_value``, hold it, then decay to ``final_value`` and stay (Hu et al., 2024).

    The ramp is that of `warmup`; ``stable_steps`` later the value falls within ``decay_steps`` as
    ``1 - u ** decay_power``: 1.0 is a line, 0.5 the square-root form of Hägele et al. (2024).
    With "fit", ``stable_steps`` or ``decay_steps`` are what the others leave of the fit.

    Examples
    --------
    >>> warmup_stable_decay(0.5, 5, 80, 15)([0, 4, 84, 85, 100]).tolist()
    [0.1, 0.5, 0.5, 0.5, 0.0]
    """

    peak_value: float = base.amount()
    warmup_steps: Length = base.steps(low=0)
    stable_steps: Length = base.steps(low=0)
    decay_steps: Length = base.steps()
    final_value: float = base.amount(default=0.0, kw_only=True)
    decay_power: float = base.amount(default=1.0, kw_only=True, open_low=True)

    def _bind(self, span):
        warm = span.steps(self.warmup_steps, 0)
        rest = span.after(warm)
        decay = 0 if self.decay_steps == "fit" else rest.steps(self.decay_steps)
        stable = rest.after(decay).steps(self.stable_steps, 0)
        decay = decay or rest.after(stable).steps("fit")
        return replace(self, warmup_steps=warm, stable_steps=stable, decay_steps=decay)

    def _at(self, t: Any) -> Any:
        warm: Any = self.warmup_steps
        if t < warm:
            return ramp(t, self.peak_value, warm)
        total = self.decay_steps
        done = min(max(t - warm - self.stable_steps, 0), total)
        left = (total - done) / total
        return mix(self.final_value, self.peak_value, done / total, left, self.decay_power)
