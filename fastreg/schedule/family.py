"""What a schedule is: frozen arguments, each with its check, and one formula of the step."""

from dataclasses import MISSING, dataclass, field, fields
from functools import partial
from itertools import pairwise

from fastreg._core.checks import integer, sequence, shown, size
from fastreg.schedule.steps import LAST_STEP, at_each, nonnegative


class Schedule:
    """Base of the families: checks the arguments once, then only the step."""

    __slots__ = ()

    def __post_init__(self):
        """Check every argument and keep what the check returns."""
        for entry in fields(self):
            name = entry.name
            value = entry.metadata["check"](type(self).__name__, name, getattr(self, name))
            object.__setattr__(self, name, value)

    def __call__(self, step):
        """Return the value at ``step``, or the array of values at an array of steps."""
        return at_each(type(self).__name__, "step", step, self._at)

    def curve(self, n_steps):
        """Return steps ``0 .. n_steps - 1`` and their values, ready for ``ax.plot(*...)``."""
        import numpy as np

        steps = np.arange(size(type(self).__name__, "n_steps", n_steps))
        return steps, self(steps)


def members(schedule, name="schedule"):
    """Yield a schedule and all that it is composed of, each with where it stands.

    `ReduceOnPlateau` has a state wherever it stands, as any object with ``update(val_loss)``.
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


def increasing_steps(where, name, value):
    """Return ``value`` as a tuple of increasing steps."""
    value = sequence(where, name, value, "steps")
    steps = tuple(integer(where, name, item, low=1) for item in value)
    if any(later <= earlier for earlier, later in pairwise(steps)):
        raise ValueError(f"{where}: {name} must increase, got {shown(value)}")
    return steps


def callable_schedule(where, name, value):
    """Return ``value`` if it can be called."""
    if not callable(value):
        raise TypeError(
            f"{where}: {name} must be a function of the step, got {shown(value)}; "
            "wrap a number in constant()"
        )
    return value


def callable_schedules(where, name, value):
    """Return ``value`` as a tuple of at least one schedule."""
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{where}: {name} must be a list of schedules, got {shown(value)}")
    if not value:
        raise ValueError(f"{where}: {name} must hold at least one schedule, got {shown(value)}")
    return tuple(callable_schedule(where, name, item) for item in value)


# --- arguments of a family ----------------------------------------------------------------


def argument(check, default=MISSING, *, kw_only=False, **bounds):
    """Declare an argument that ``check(where, name, value, **bounds)`` validates."""
    check = partial(check, **bounds) if bounds else check
    return field(default=default, kw_only=kw_only, metadata={"check": check})


amount = partial(argument, nonnegative)
count = partial(argument, integer, low=1, high=LAST_STEP)
factor = partial(argument, nonnegative, open_low=True)
step_list = partial(argument, increasing_steps)
one_schedule = partial(argument, callable_schedule)
schedule_list = partial(argument, callable_schedules)
family = dataclass(frozen=True, slots=True)
