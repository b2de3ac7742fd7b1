"""What a schedule is: frozen arguments, each with its check, and one formula of the step."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, dataclass_transform, overload

from fastreg._core.checks import integer, shown, size
from fastreg.schedule.lengths import BOUND, EPOCHS, STEPS, Span, growing, length
from fastreg.schedule.steps import LAST_STEP, at_each, nonnegative

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

    from fastreg._core.types import Array

Family = TypeVar("Family")


class Schedule:
    """Base of the families: arguments are checked once, and the step at each call."""

    __slots__ = ()

    def __post_init__(self) -> None:
        """Check every argument and keep what the check returns."""
        for name, entry in self._arguments():
            value = entry.metadata["check"](type(self).__name__, name, getattr(self, name))
            object.__setattr__(self, name, value)
        found = max(needs(getattr(self, name)) for name, _ in self._arguments())
        object.__setattr__(self, "_needs", found)

    def _arguments(self):
        return [(entry.name, entry) for entry in fields(self) if "check" in entry.metadata]

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Any]]
        _needs: int

        def _at(self, t: Any) -> float: ...

    @overload
    def __call__(self, step: float) -> float: ...
    @overload
    def __call__(self, step: Array | Sequence[float]) -> Array: ...
    def __call__(self, step: Any) -> Any:
        """Return the value at ``step``, or the array of values at an array of steps."""
        if self._needs:
            raise RuntimeError(
                f"{type(self).__name__}: lengths in epochs and shares of a fit must become steps "
                "first; give the schedule to Trainer(schedule=...), whose fit does that, or call "
                f"bind(steps_per_epoch=..., epochs=...) of it, got {shown(self)}"
            )
        return at_each(type(self).__name__, "step", step, self._at)

    def bind(self, *, steps_per_epoch: int, epochs: int | None = None) -> Self:
        """Return the schedule for a run of so many steps: every length in it becomes steps.

        `Trainer.fit` does it for its ``schedule``. Lengths are rounded to whole steps, at least
        one where one is needed. A schedule without such lengths is returned as it is.

        Parameters
        ----------
        steps_per_epoch, epochs : int, keyword-only
            At least 1. Without "fit" and "%" the epochs are not needed.

        Raises
        ------
        TypeError, ValueError
            If a number is bad, the epochs are needed and missing, or steps that must increase
            become equal by rounding.

        Examples
        --------
        >>> from fastreg.schedule import cosine, warmup
        >>> warmup(cosine(0.1, total="fit"), "2 epochs").bind(steps_per_epoch=50, epochs=10)
        warmup(schedule=cosine(initial_value=0.1, total_steps=400, final_value=0.0), \
warmup_steps=100)
        """
        where = f"{type(self).__name__}.bind"
        per_epoch = integer(where, "steps_per_epoch", steps_per_epoch, low=1, high=LAST_STEP)
        if epochs is not None:
            epochs = integer(where, "epochs", epochs, low=1, high=LAST_STEP)
        if self._needs == EPOCHS and epochs is None:
            raise ValueError(f'{where}: epochs must be given for "fit" and "%", got None')
        return self._bind(Span(per_epoch, epochs)) if self._needs else self

    def _bind(self, span: Span) -> Self:
        """Replace what is not in steps; families that hold schedules say when these begin."""
        new: dict[str, Any] = {}
        for name, entry in self._arguments():
            value = getattr(self, name)
            if isinstance(value, str):
                new[name] = span.steps(value, entry.metadata["low"])
            elif isinstance(value, tuple) and not any(map(callable, value)):
                new[name] = tuple(map(span.steps, value))
        return replace(self, **new)

    def curve(self, n_steps: int) -> tuple[Array, Array]:
        """Return steps ``0 .. n_steps - 1`` and their values, ready for ``ax.plot(*...)``."""
        import numpy as np

        steps = np.arange(size(type(self).__name__, "n_steps", n_steps))
        return steps, self(steps)


def needs(value: Any) -> int:
    """Return what an argument needs of a run: `BOUND` (nothing), `STEPS` or `EPOCHS`."""
    if isinstance(value, tuple):
        return max(map(needs, value), default=BOUND)
    if isinstance(value, str):
        return STEPS if "epoch" in value else EPOCHS
    return value._needs if isinstance(value, Schedule) else BOUND


def bound(schedule: Any, span: Span) -> Any:
    """Return a schedule for a run; one that is not of a family stays the same object."""
    return schedule._bind(span) if isinstance(schedule, Schedule) else schedule


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


def _argument(check, default, kw_only, bounds, **more) -> Any:
    check = partial(check, **bounds) if bounds else check
    return field(default=default, kw_only=kw_only, metadata={"check": check, **more})


def amount(*, default: Any = MISSING, kw_only: bool = False, **bounds: Any) -> Any:
    """Declare a number, at least 0 unless the bounds say otherwise."""
    return _argument(nonnegative, default, kw_only, bounds)


def factor(*, default: Any = MISSING, kw_only: bool = False) -> Any:
    """Declare a number above 0."""
    return _argument(nonnegative, default, kw_only, {"open_low": True})


def count(*, default: Any = MISSING, kw_only: bool = False, low: int = 1) -> Any:
    """Declare a number of steps."""
    return _argument(integer, default, kw_only, {"low": low, "high": LAST_STEP})


def steps(
    *, default: Any = MISSING, kw_only: bool = False, low: int = 1, short: str | None = None
) -> Any:
    """Declare a length, which may also be given by the keyword ``short``."""
    return _argument(length, default, kw_only, {"low": low}, low=low, short=short)


def step_list(*, default: Any = MISSING, kw_only: bool = False) -> Any:
    """Declare increasing lengths."""
    return _argument(growing, default, kw_only, {})


def one_schedule(*, default: Any = MISSING, kw_only: bool = False) -> Any:
    """Declare a function of the step."""
    return _argument(callable_schedule, default, kw_only, {})


def schedule_list(*, default: Any = MISSING, kw_only: bool = False) -> Any:
    """Declare functions of the step."""
    return _argument(callable_schedules, default, kw_only, {})


@dataclass_transform(
    frozen_default=True,
    field_specifiers=(amount, factor, count, steps, step_list, one_schedule, schedule_list),
)
def family(cls: type[Family]) -> type[Family]:
    """Make a family of its declared arguments."""
    # What a schedule needs of a run is a field so that pickles and copies have it.
    cls.__annotations__["_needs"] = "int"
    cls._needs = field(init=False, repr=False, compare=False, default=BOUND)  # type: ignore
    made: Any = dataclass(frozen=True, slots=True)(cls)
    short = {entry.metadata["short"]: entry.name for entry in fields(made)
             if entry.metadata.get("short")}  # fmt: skip
    if short:
        made.__init__ = _with_short_names(made, short)
    return made


def _with_short_names(cls, short):
    """Let arguments of a constructor also be given by their short names."""
    plain, signature = cls.__init__, inspect.signature(cls.__init__)

    @wraps(plain)
    def init(self, *arguments, **named):
        for name in short.keys() & named.keys():
            whole = short[name]
            value = named.pop(name)
            given = signature.bind_partial(self, *arguments, **named).arguments
            if whole in given:
                raise TypeError(
                    f"{cls.__name__}: {whole} and {name} are one argument, got "
                    f"{shown(given[whole])} and {shown(value)}"
                )
            named[whole] = value
        plain(self, *arguments, **named)

    return init
