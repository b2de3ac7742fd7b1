"""What a schedule is: frozen arguments, each with its check, and one formula of the step."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, dataclass_transform, overload

from fastreg._core.checks import integer, sequence, shown, size
from fastreg.schedule.steps import LAST_STEP, at_each, nonnegative

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastreg._core.types import Array

Family = TypeVar("Family")


class Schedule:
    """Base of the families: arguments are checked once, and the step at each call."""

    __slots__ = ()

    def __post_init__(self) -> None:
        """Check every argument and keep what the check returns."""
        for entry in fields(self):
            name = entry.name
            value = entry.metadata["check"](type(self).__name__, name, getattr(self, name))
            object.__setattr__(self, name, value)

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Any]]

        def _at(self, t: Any) -> float: ...

    @overload
    def __call__(self, step: float) -> float: ...
    @overload
    def __call__(self, step: Array | Sequence[float]) -> Array: ...
    def __call__(self, step: Any) -> Any:
        """Return the value at ``step``, or the array of values at an array of steps."""
        return at_each(type(self).__name__, "step", step, self._at)

    def curve(self, n_steps: int) -> tuple[Array, Array]:
        """Return steps ``0 .. n_steps - 1`` and their values, ready for ``ax.plot(*...)``."""
        import numpy as np

        steps = np.arange(size(type(self).__name__, "n_steps", n_steps))
        return steps, self(steps)


def members(schedule: Any, name: str = "schedule") -> Iterator[tuple[str, Any]]:
    """Yield a schedule and all schedules that it is composed of, each with its place.

    `ReduceOnPlateau` has a state in every place, as any object with ``update(val_loss)`` has.
    """
    yield name, schedule
    for entry in fields(schedule) if isinstance(schedule, Schedule) else ():
        inner = getattr(schedule, entry.name)
        if isinstance(inner, tuple):
            for i, one in enumerate(inner):
                if callable(one):
                    yield from members(one, f"{name}.{entry.name}[{i}]")
        elif callable(inner):
            yield from members(inner, f"{name}.{entry.name}")


# --- checks -------------------------------------------------------------------------------


def increasing_steps(where: str, name: str, value: Any) -> tuple[int, ...]:
    """Return ``value`` as a tuple of increasing steps."""
    value = sequence(where, name, value, "steps")
    steps = tuple(integer(where, name, item, low=1) for item in value)
    if any(later <= earlier for earlier, later in pairwise(steps)):
        raise ValueError(f"{where}: {name} must increase, got {shown(value)}")
    return steps


def callable_schedule(where: str, name: str, value: Any) -> Any:
    """Return ``value`` if it can be called."""
    if not callable(value):
        raise TypeError(
            f"{where}: {name} must be a function of the step, got {shown(value)}; "
            "wrap a number in constant()"
        )
    return value


def callable_schedules(where: str, name: str, value: Any) -> tuple[Any, ...]:
    """Return ``value`` as a tuple of at least one schedule."""
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{where}: {name} must be a list of schedules, got {shown(value)}")
    if not value:
        raise ValueError(f"{where}: {name} must hold at least one schedule, got {shown(value)}")
    return tuple(callable_schedule(where, name, item) for item in value)


# --- arguments of a family ----------------------------------------------------------------


def _argument(check, default, kw_only, bounds) -> Any:
    check = partial(check, **bounds) if bounds else check
    return field(default=default, kw_only=kw_only, metadata={"check": check})


def amount(*, default: Any = MISSING, kw_only: bool = False, **bounds: Any) -> Any:
    """Declare a number, at least 0 unless the bounds say otherwise."""
    return _argument(nonnegative, default, kw_only, bounds)


def factor(*, default: Any = MISSING, kw_only: bool = False) -> Any:
    """Declare a number above 0."""
    return _argument(nonnegative, default, kw_only, {"open_low": True})


def count(*, default: Any = MISSING, kw_only: bool = False, low: int = 1) -> Any:
    """Declare a number of steps."""
    return _argument(integer, default, kw_only, {"low": low, "high": LAST_STEP})


def step_list(*, default: Any = MISSING, kw_only: bool = False) -> Any:
    """Declare increasing steps."""
    return _argument(increasing_steps, default, kw_only, {})


def one_schedule(*, default: Any = MISSING, kw_only: bool = False) -> Any:
    """Declare a function of the step."""
    return _argument(callable_schedule, default, kw_only, {})


def schedule_list(*, default: Any = MISSING, kw_only: bool = False) -> Any:
    """Declare functions of the step."""
    return _argument(callable_schedules, default, kw_only, {})


@dataclass_transform(
    frozen_default=True,
    field_specifiers=(amount, factor, count, step_list, one_schedule, schedule_list),
)
def family(cls: type[Family]) -> type[Family]:
    """Make a family of its declared arguments."""
    return dataclass(frozen=True, slots=True)(cls)
