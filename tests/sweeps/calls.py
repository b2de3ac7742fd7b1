"""What a valid call of a public callable is: for the sweep of errors."""

import numpy as np
from bad_values import number


class Call:
    """A public callable by the name that its errors have, and its arguments.

    ``make`` returns it anew; an argument is (a valid value, the kind that it must have).
    """

    def __init__(
        self, where, make, /, *, says=None, errors=(), also=None, package=None, **arguments
    ):
        self.where, self.make, self.arguments = where, make, arguments
        self.says = says or where  # what errors call it
        self.package = package  # without which it cannot be called
        self.errors = errors  # what else it may raise, as documented
        self.also = also or {}  # argument: other names that errors have for it

    def __repr__(self):
        return self.where


class Assign:
    """The setter of a property as a callable."""

    def __init__(self, holder, name):
        self.holder, self.name = holder, name

    def __call__(self, value):
        setattr(self.holder, self.name, value)


def rng(n=0):
    return np.random.default_rng(n)


def f32(*shape):
    return rng().standard_normal(shape).astype(np.float32)


def f64(*shape):
    return rng().standard_normal(shape)


CALLS = []


def add(where, make, /, **options):
    CALLS.append(Call(where, make, **options))


def setters(where, make, **kinds):
    """Properties that may be assigned; learning_rate is what errors call lr."""
    for name, kind in kinds.items():

        def assign(name=name):
            return Assign(make(), name)

        value = {"axis": 0, "t": 1}.get(name, 0.25)
        add(
            f"{where}.{name}=",
            assign,
            says=where,
            also={"value": (name, "learning_rate")},
            value=(value, kind),
        )


def entries(where, make, state, says=None):
    """Loading a state, whose entries are the arguments."""

    def bound(method):
        return Bound(method, lambda **state: method(state))

    kinds = {key: (value, lambda value: None) for key, value in state.items()}
    also = {key: ("lacks", "best_epoch", f"'{key[0]}'", key.split(".")[-1]) for key in state}
    add(f"{where}[...]", lambda: bound(make()), says=says or where, also=also, **kinds)


class Bound:
    """A function of a method, that keeps the method's object in sight."""

    def __init__(self, method, function):
        self.holder, self.function = method.__self__, function

    def __call__(self, **arguments):
        return self.function(**arguments)


RATE = number(0.0)
SHARE = number(0.0, 1.0, open_high=True)
