"""An object spelled as the call that makes it, for `repr` of layers and networks."""

from __future__ import annotations

from typing import Any

__all__ = ["spelled"]

#: Arguments that no layer keeps under their names; its arrays tell them.
FROM_ARRAYS: Any = {
    "n_in": lambda layer: layer.W.shape[0],
    "n_out": lambda layer: layer.W.shape[1],
    "n_features": lambda layer: (
        layer.running_mean.size if layer.gamma is None else layer.gamma.size
    ),
    "bias": lambda layer: layer.b is not None,
    "dtype": lambda layer: layer.W.dtype.name,
}
ABSENT: Any = object()


def spelled(thing: Any) -> str:
    """Return the call of a class that makes an object like this one.

    The first positional argument and those without a default are always shown, others where they
    differ from their defaults. An argument that the object does not keep is left out, or an
    ellipsis where it has no default. It never raises.

    Examples
    --------
    >>> from fastreg import BatchNorm, Dropout
    >>> spelled(Dropout(0.5, rng=0)), spelled(BatchNorm(8, axis=-1))
    ('Dropout(0.5)', 'BatchNorm(8, axis=-1)')
    """
    kind = type(thing)
    import inspect  # here: `import fastreg` does without it

    try:
        parameters = [*inspect.signature(kind).parameters.values()]
    except (TypeError, ValueError):  # a class of another language
        return f"{kind.__name__}(...)"
    words = []
    for place, one in enumerate(parameters):
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) or one.name == "rng":
            continue
        value = _kept(thing, one.name)
        positional = one.kind is not one.KEYWORD_ONLY
        wanted = one.default is one.empty or (positional and place == 0)
        if value is ABSENT:
            words += ["..."] if one.default is one.empty else []
        elif wanted and positional:
            words.append(_short(value))
        elif wanted or not _same(value, one.default):
            words.append(f"{one.name}={_short(value)}")
    return f"{kind.__name__}({', '.join(words)})"


def _kept(thing, name):
    """The value of an argument that an object keeps, or ABSENT."""
    for attribute in (name, f"_{name}"):
        try:
            return getattr(thing, attribute)
        except Exception:  # noqa: S112 - a property is foreign code
            continue
    try:
        return FROM_ARRAYS[name](thing)
    except Exception:  # a layer that is not built, or of another kind
        return ABSENT


def _same(value, default):
    try:
        return value is default or bool(value == default) or value == default.__name__
    except Exception:  # an array is neither equal nor unequal
        return False


def _short(value):
    from fastreg._core.checks import shown

    return shown(value)
