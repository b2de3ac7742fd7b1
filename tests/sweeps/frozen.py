"""All that can change in an object, as values to compare; and the files that calls read."""

import types
from pathlib import Path

import numpy as np
import public_calls

from fastreg import export


def frozen(thing, seen=None, *, twins=False):
    """All that can change in an object, as values that can be compared.

    What has no contents is the same where it is the same object; between ``twins``, where it has
    the same type.
    """
    seen = {} if seen is None else seen

    def inside(value):
        return frozen(value, seen, twins=twins)

    if isinstance(thing, np.ndarray) and thing.dtype.hasobject:
        return str(thing.dtype), thing.shape
    if isinstance(thing, np.ndarray):
        return str(thing.dtype), thing.shape, np.asarray(thing).tobytes()
    if isinstance(thing, np.random.Generator):
        return repr(thing.bit_generator.state)
    if isinstance(thing, (str, bytes, int, float, complex, type(None), type, np.generic)):
        return repr(thing) if isinstance(thing, (float, np.generic)) else thing
    if id(thing) in seen:
        return None
    seen[id(thing)] = thing  # kept, or another object might have its id
    if isinstance(thing, (dict, types.MappingProxyType)):
        return [(repr(key), inside(value)) for key, value in thing.items()]
    if isinstance(thing, (list, tuple)):
        return [inside(item) for item in thing]
    if isinstance(thing, (public_calls.Assign, public_calls.Bound, types.MethodType)):
        return inside(getattr(thing, "holder", None) or thing.__self__)
    if type(thing).__module__.startswith("fastreg"):
        state = thing.state_dict() if hasattr(thing, "state_dict") else None
        own = {key: value for key, value in vars_of(thing).items() if key != "_lock"}
        return inside(state), inside(own)
    return type(thing).__name__ if twins else id(thing)


def vars_of(thing):
    return getattr(thing, "__dict__", {})


def write_files(folder):
    """Write a file of each kind, which the calls of the table read, into a folder."""
    folder = Path(folder)
    public_calls.trainer().save(folder / "base.ckpt")
    export.npz(public_calls.calls_export.network(), folder / "network.npz")
    (folder / "base.csv").write_text("x,z,y\n" + "1,2,0\n" * 9)
    np.savez(folder / "base.npz", X=np.ones((4, 3)), y=np.arange(4))
    (folder / "base.idx").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 1, 2]))
