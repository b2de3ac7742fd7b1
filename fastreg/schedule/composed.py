"""Schedules made of schedules: one after another, and a ramp before one."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastreg.schedule import family as base
from fastreg.schedule.steps import ramp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastreg._core.types import Length, ScheduleLike

__all__ = ["join", "warmup"]


@base.family
class join(base.Schedule):
    """Run one schedule after another, each counting from its own first step.

    ``schedules[i]`` takes over at step ``boundaries[i - 1]``; there is one boundary fewer than
    there are schedules. A schedule may be any function of the step.

    Examples
    --------
    >>> from fastreg.schedule import constant, linear
    >>> join([constant(0.1), linear(0.1, 0.0, 10)], [5])([4, 5, 10, 15]).tolist()
    [0.1, 0.1, 0.05, 0.0]
    """

    schedules: Sequence[ScheduleLike] = base.schedule_list()
    boundaries: Sequence[Length] = base.step_list()

    def __post_init__(self) -> None:
        """Check every argument, then that their lengths agree."""
        base.Schedule.__post_init__(self)  # slots make a new class: no bare super()
        if len(self.boundaries) != len(self.schedules) - 1:
            n, got = len(self.schedules) - 1, len(self.boundaries)
            raise ValueError(f"join: boundaries must hold {n} for {n + 1} schedules, got {got}")

    def _bind(self, span):
        boundaries = tuple(map(span.steps, self.boundaries))
        begins = zip(self.schedules, (0, *boundaries), strict=True)
        schedules = tuple(base.bound(one, span.after(begin)) for one, begin in begins)
        return replace(self, schedules=schedules, boundaries=boundaries)

    def _at(self, t: Any) -> Any:
        i = bisect_right(self.boundaries, t)
        return self.schedules[i](t - self.boundaries[i - 1] if i else t)


@base.family
class warmup(base.Schedule):
    """Ramp up to the first value of ``schedule`` in ``warmup_steps``, then run it from its start.

    ``schedule(0) * (step + 1) / warmup_steps`` while ``step < warmup_steps``, afterwards
    ``schedule(step - warmup_steps)`` (Goyal et al., 2017). Zero steps mean no warm-up.

    Examples
    --------
    >>> from fastreg.schedule import cosine
    >>> warmup(cosine(0.1, 95), warmup_steps=5)([0, 4, 5, 100]).tolist()
    [0.02, 0.1, 0.1, 0.0]
    """

    schedule: ScheduleLike = base.one_schedule()
    warmup_steps: Length = base.steps(default=5, low=0)

    def _bind(self, span):
        warm = span.steps(self.warmup_steps, 0)
        return replace(
            self, schedule=base.bound(self.schedule, span.after(warm)), warmup_steps=warm
        )

    def _at(self, t: Any) -> Any:
        warm: Any = self.warmup_steps
        return ramp(t, self.schedule(0), warm) if t < warm else self.schedule(t - warm)
