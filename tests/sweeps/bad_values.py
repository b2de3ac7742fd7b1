"""What the sweep of errors passes for arguments, and which of it an argument of some kind takes."""

import decimal
import math
import os

import numpy as np

try:
    import scipy.sparse as sparse
except ImportError:
    sparse = None
try:
    import pandas
except ImportError:
    pandas = None
try:
    import torch
except ImportError:
    torch = None


class Nameless:
    """What cannot even be shown."""

    def __repr__(self):
        raise RuntimeError("foreign")


FOREIGN = {}
if sparse is not None:
    FOREIGN["sparse"] = sparse.csr_array(np.eye(3))
if pandas is not None:
    FOREIGN |= {"NA": pandas.NA, "nullable": pandas.Series([1, None], dtype="Int64")}
if torch is not None:
    FOREIGN |= {
        "tensor": torch.ones(3, requires_grad=True),
        "complex tensor": torch.tensor(1j),
        "bool tensor": torch.tensor(True),
    }


def bad_values():
    """Values of every kind by label; some are right for some arguments."""
    values = {
        "None": None,
        "True": True,
        "numpy.True_": np.True_,
        "word": "x",
        "no word": "",
        "NUL": "a\0b",
        "bytes": b"x",
        "-1": -1,
        "0": 0,
        "1": 1,
        "3": 3,
        "1.5": 1.5,
        "-0.5": -0.5,
        "nan": math.nan,
        "inf": math.inf,
        "-inf": -math.inf,
        "2**70": 2**70,
        "-2**70": -(2**70),
        "10**5000": 10**5000,
        "1j": 1j,
        "decimal": decimal.Decimal("sNaN"),
        "float16": np.float16(1.5),
        "complex scalar": np.complex64(1),
        "date": np.datetime64("2020-01-01"),
        "masked": np.ma.masked,
        "[]": [],
        "()": (),
        "{}": {},
        "set": {1},
        "[None]": [None],
        "['x']": ["x"],
        "[1.5]": [1.5],
        "[True]": [True],
        "[-1]": [-1],
        "ragged": [[1.0], [1.0, 2.0]],
        "{'a': 'x'}": {"a": "x"},
        "{1: None}": {1: None},
        "object": object(),
        "nameless": Nameless(),
        "[nameless]": [Nameless()],
        "lambda": lambda *args: "x",
        "class": int,
        "layer class": np.ndarray,
        "generator": (i for i in ["x", None]),
        "module": math,
        "0-d float": np.array(1.5),
        "0-d int": np.array(1),
        "0-d bool": np.array(True),
        "0-d object": np.array(None),
        "one": np.array([1.5]),
        "one int": np.array([1]),
        "empty": np.array([]),
        "empty rows": np.empty((0, 3)),
        "4-d": np.ones((1, 2, 3, 4)),
        "objects": np.array([object(), None]),
        "words": np.array(["x", "y"]),
        "dates": np.array(["2020-01-01", "2020-01-02"], "M8[D]"),
        "spans": np.array([1, 2], "m8[s]"),
        "complex": np.ones(2, complex),
        "records": np.zeros(2, [("a", "f4")]),
        "void": np.zeros(2, "V4"),
    }
    return values | FOREIGN


def spoiled(array):
    """Variants of an array that is right: of other kinds, dtypes, shapes and layouts."""
    locked = array.copy()
    locked.flags.writeable = False
    values = {
        "locked": locked,
        "strided": np.repeat(array, 2, axis=-1)[..., ::2] if array.ndim else array,
        "one axis more": array[None],
        "float16 of it": array.astype(np.float16),
        "longdouble of it": array.astype(np.longdouble),
        "int8 of it": array.astype(np.int8),
        "bool of it": array.astype(bool),
        "complex of it": array.astype(complex),
        "objects of it": array.astype(object),
        "words of it": array.astype(str),
        "swapped": array.astype(array.dtype.newbyteorder()),
        "masked of it": np.ma.array(array, mask=np.zeros(array.shape, bool)),
        "list of it": array.tolist(),
        "other float": array.astype(np.float64 if array.dtype == np.float32 else np.float32),
    }
    if array.ndim:
        values |= {"short": array[:-1], "none of it": array[:0], "one axis less": array[0]}
    if array.dtype.kind == "f":
        values["nan in it"] = np.where(
            np.arange(array.size).reshape(array.shape) == 1, np.nan, array
        )
        values["nan in it"] = values["nan in it"].astype(array.dtype)
    else:
        values["large"] = np.full_like(array, 2**40)
        values["negative"] = np.full_like(array, -5)
    if sparse is not None and array.ndim == 2:
        values["sparse of it"] = sparse.csr_array(array)
    if pandas is not None and array.ndim in (1, 2):
        frame = pandas.Series if array.ndim == 1 else pandas.DataFrame
        kind = "Float64" if array.dtype.kind == "f" else "Int64"
        missing = frame(array.astype(np.float64)).astype("Float64").astype(kind)
        missing.iloc[(0,) * array.ndim] = pandas.NA
        values["nullable of it"] = missing
    if torch is not None:
        grad = array.dtype.kind == "f"
        values["tensor of it"] = torch.tensor(array.tolist(), requires_grad=grad)
    return values


# --- kinds: is a value right (True), wrong (False), either (None), or not to be tried (...)? -----


def kind_of(base, *, none=False):
    """``base`` with or without None."""
    return lambda value: none if value is None else base(value)


def _scalar(value):
    if isinstance(value, (bool, np.bool_, np.timedelta64, np.ma.MaskedArray)):
        return None
    if isinstance(value, (int, float, np.integer, np.floating)):
        return value
    if type(value) is np.ndarray and value.ndim == 0 and value.dtype.kind in "iuf":
        return value[()]
    return None


def number(low=-math.inf, high=math.inf, *, open_low=False, open_high=False, none=False):
    """A finite number in a range."""

    def check(value):
        value = _scalar(value)
        if value is None:
            return False
        try:
            value = float(value)
        except OverflowError:
            return False
        above = value > low if open_low else value >= low
        below = value < high if open_high else value <= high
        return math.isfinite(value) and above and below

    return kind_of(check, none=none)


def integer(low=-math.inf, high=math.inf, *, none=False):
    """An integer in a range."""

    def check(value):
        value = _scalar(value)
        return isinstance(value, (int, np.integer)) and low <= value <= high

    return kind_of(check, none=none)


def length(low):
    """Steps, or one of the texts for them."""
    steps = integer(low, 2**53)
    return lambda value: value == "fit" if isinstance(value, str) else steps(value)


SIZE = integer(1, 2**59)


def flag(value):
    """True or False, also NumPy's."""
    return isinstance(value, (bool, np.bool_))


def listed(item, *, length=None):
    """A list, a tuple, a set or a vector of what is of one kind."""

    def check(value):
        if isinstance(value, np.ma.MaskedArray) or not isinstance(
            value, (list, tuple, set, np.ndarray)
        ):
            return False
        if isinstance(value, np.ndarray) and value.ndim != 1:
            return None if value.ndim and not len(value) else False
        return (length is None or len(value) == length) and all(map(item, value))

    return check


def one_of(*names, none=False):
    """One of some words."""
    return kind_of(lambda value: isinstance(value, str) and value in names, none=none)


def called(*, none=False):
    """What can be called."""
    return kind_of(callable, none=none)


def seed(value):
    """What ``default_rng`` takes, as far as the values here go."""
    if value is None or isinstance(value, np.random.Generator):
        return True
    if isinstance(value, (list, tuple, np.ndarray)):
        return None  # sequences of words; default_rng decides
    return integer(0)(value)


def path(value):
    """The name of a file."""
    named = isinstance(value, (str, bytes, os.PathLike))
    return named and bool(value) and value != "a\0b"


def is_float(value, dtype=None):
    """Whether a value is an array that kernels take as it is."""
    return (
        isinstance(value, np.ndarray)
        and not isinstance(value, np.ma.MaskedArray)
        and value.dtype in ((np.float32, np.float64) if dtype is None else (dtype,))
        and value.dtype.isnative
    )


def floats(shape=None, dtype=None, *, none=False, finite=False, written=False, whole=False):
    """A float array; ``shape`` is one, or a predicate of one."""

    def check(value):
        if whole and type(value) is np.ndarray and value.dtype.kind in "biu":
            return None  # read as floats
        if not is_float(value, dtype):
            return False
        fits = shape is None or (shape(value.shape) if callable(shape) else value.shape == shape)
        if fits and written:
            fits = value.flags.writeable and value.flags.c_contiguous
        return fits and not (finite and not np.isfinite(value).all())

    return kind_of(check, none=none)


def weights(*, written=False, none=False):
    """An array, or a dict, list or tuple of arrays."""
    array = floats(written=written, whole=not written)

    def leaf(value):
        if isinstance(value, (bool, int, float, np.generic)):
            return None  # an array without axes
        return array(value)

    def check(value):
        if isinstance(value, dict):
            value = list(value.values())
        if not isinstance(value, (list, tuple)):
            return leaf(value)
        found = [leaf(item) for item in value]
        return False if False in found else None if None in found else True

    return kind_of(check, none=none)


def real(shape=None, *, kinds="fiub", none=False, values=None):
    """What NumPy reads as an array of real numbers; ``values`` may say more of it."""

    def check(value):
        if isinstance(value, (np.ma.MaskedArray, str, bytes)):
            return False
        try:
            array = np.asarray(value)
        except (TypeError, ValueError, RuntimeError):
            return False
        if array.dtype.kind not in kinds:
            return False
        if shape is not None and not (
            shape(array.shape) if callable(shape) else array.shape == shape
        ):
            return False
        return values is None or values(array)

    return kind_of(check, none=none)
