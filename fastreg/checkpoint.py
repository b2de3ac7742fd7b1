"""Checkpoints: a tree of arrays and JSON values in one file, which is complete or is refused.

The file is a safetensors file, which any reader of that format opens: eight bytes with the length
of a JSON header, the header, the arrays end to end. Its ``__metadata__`` holds the format's
version, fastreg's version, the tree with a reference in place of each array, and the SHA-256 of
the whole file, computed with 64 zeros in its own place. Nothing in it is ever executed.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import re
import stat
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core import checks
from fastreg._core.digest import sha256
from fastreg._core.replace import replace_file

if TYPE_CHECKING:
    from fastreg._core.types import PathLike

__all__ = ["CheckpointError", "load", "save"]

FORMAT = "fastreg checkpoint 1"
OURS = re.compile(r"fastreg checkpoint \d+")  # of any version
BLANK = "0" * 64
REFERENCE = "$array"
HEADER_LIMIT = 100_000_000  # bytes, as in the safetensors library
MOST_AXES = 64  # of an array, as in NumPy
DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
# By text, since without memory a dtype has another hash.
NAMES = {np.dtype(code).str: name for name, code in DTYPES.items()}
BFLOAT16 = "BF16"  # not NumPy's: arrays of ml_dtypes, written as their bits
DTYPES[BFLOAT16] = "<u2"


class CheckpointError(Exception):
    """A file is damaged, of another kind or made for something else; the message says which.

    Examples
    --------
    >>> raise CheckpointError("model.ckpt: damaged, the checksum does not fit")
    Traceback (most recent call last):
    ...
    fastreg.checkpoint.CheckpointError: model.ckpt: damaged, the checksum does not fit
    """


class _TooLargeError(CheckpointError, MemoryError):
    """A file that memory has no room for."""


def save(path: PathLike, state: Any) -> None:
    """Write a tree to a file, so that a crash leaves either the old file or the new one.

    The bytes are written to a temporary file in the same folder and forced to the disk, and the
    file is renamed; then the folder is forced to the disk, where the system can do that. An
    existing file keeps its mode and, where permitted, its owner and group. A symbolic link stays
    a link, and the file it leads to is replaced. The next save to the same path removes a
    temporary file that a killed process has left.

    Parameters
    ----------
    path : str or path
        The file to write. An existing regular file is replaced, anything else is refused.
    state : dict
        Keys are strings; values are arrays of numbers or bools (of bfloat16, those of ml_dtypes),
        JSON values, lists, or dicts of these. Tuples come back as lists, NumPy numbers as Python's.

    Raises
    ------
    TypeError
        If a key is not a string, a value neither an array nor a JSON value, or the path not a path.
    ValueError
        If the tree contains itself or is too deep, or an integer has more than 4300 digits.
    OSError
        If the disk refuses, or the path is a folder, device, pipe or socket. What was there before
        is then untouched.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.ckpt"
    >>> save(path, {"w": np.arange(3.0), "epoch": 7})
    >>> load(path)
    {'w': array([0., 1., 2.]), 'epoch': 7}
    """
    path = checks.path("save", "path", path)
    replace_file(path, encode(state))


def load(path: PathLike) -> Any:
    """Read a tree back after its sizes, checksum and version have been verified.

    Sizes that the file claims are compared with its length before memory is taken for them.

    Parameters
    ----------
    path : str or path
        A file that `save` wrote.

    Returns
    -------
    dict
        The tree; its arrays are new and writeable.

    Raises
    ------
    CheckpointError
        If the file is not one that `save` wrote, byte for byte.
    TypeError
        If the path is not a path.
    ImportError
        If the file holds bfloat16 arrays, and ml_dtypes, which makes them, is not installed.
    MemoryError
        If there is no room for it; the error is a CheckpointError, too, and names the file.
    OSError
        If it cannot be read.
    """
    path = checks.path("load", "path", path)
    try:
        return decode(_bytes(path))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except MemoryError:
        raise _TooLargeError(f"{path}: larger than the memory that is to be had") from None


def _bytes(path):
    """The content of a regular file whose header describes what it holds."""
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError("not a regular file")
        start = file.read(8)
        size = int.from_bytes(start, "little")
        if 8 + size <= status.st_size and size <= HEADER_LIMIT:
            start += file.read(size)
        layout(start, status.st_size)
        file.seek(0)
        return file.read()


def _without_waiting(path, flags):
    """Open a file without waiting: opening a pipe would wait for its writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def encode(state: Any) -> bytearray:
    """Return the bytes of a checkpoint."""
    from fastreg import __version__

    if not isinstance(state, dict):
        raise TypeError(f"save: state must be a dict, got {type(state).__name__}")
    arrays: dict[str, Any] = {}
    try:
        tree = _without_arrays(state, "state", arrays)
        text = json.dumps(tree)
    except RecursionError:
        raise ValueError("save: state must be a tree of few levels, got one too deep") from None
    except ValueError as error:  # an integer that JSON cannot hold
        raise ValueError(f"save: state must hold numbers of JSON; {error}") from None
    metadata = {
        "format": FORMAT,
        "fastreg": __version__,
        "sha256": BLANK,
        "state": text,
    }
    data = pack(arrays, metadata)
    digest = sha256(data).encode()
    place = data.index(b'"sha256":"' + BLANK.encode()) + len(b'"sha256":"')
    data[place : place + 64] = digest
    return data


def decode(data: Any) -> Any:
    """Return the tree in the bytes of a checkpoint."""
    arrays, metadata, start = unpack(data)
    _check_sum(data[:start], memoryview(data)[start:], metadata.get("sha256"))
    if metadata.get("format") != FORMAT:
        raise _other_format(metadata.get("format"))
    try:
        tree = json.loads(metadata["state"], object_pairs_hook=_distinct)
        tree = _with_arrays(tree, arrays)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"not a checkpoint that save wrote; {error!r}") from None
    if not isinstance(tree, dict):
        raise CheckpointError("not a checkpoint that save wrote; its state is no object")
    if arrays:
        raise CheckpointError(f"not a checkpoint that save wrote; {min(arrays)!r} has no place")
    return tree


def pack(arrays: Any, metadata: Any) -> Any:
    """Return the bytes of a safetensors file."""
    header, end = {"__metadata__": metadata}, 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        header[name] = {
            "dtype": _name_of(array), "shape": array.shape, "data_offsets": [start, end]
        }  # fmt: skip
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned
    parts = [len(text).to_bytes(8, "little"), text]
    return bytearray(b"".join([*parts, *(array.tobytes() for array in arrays.values())]))


def unpack(data: Any) -> Any:
    """Return the arrays, the metadata and the place of the first array of a safetensors file."""
    places, metadata, start = layout(data, len(data))
    arrays = {}
    for name, (kind, shape, place) in places.items():
        n, dtype = math.prod(shape), np.dtype(DTYPES[kind])
        flat: Any = np.frombuffer(data, dtype, n, start + place) if n else []
        try:
            array = np.array(flat, dtype.newbyteorder("=")).reshape(shape)
            arrays[name] = array.view(_bfloat16()) if kind == BFLOAT16 else array
        except ValueError as error:  # an empty array whose axes are longer than any memory
            raise CheckpointError(f"damaged or not a safetensors file; {error}") from None
    return arrays, metadata, start


def _bfloat16():
    """NumPy's type for bfloat16, from the library of that type."""
    try:
        return importlib.import_module("ml_dtypes").bfloat16
    except ImportError:
        raise ImportError(
            "load: the file holds bfloat16 arrays, which need ml_dtypes; install it"
        ) from None


def _name_of(array):
    """The format's name for an array's type, or None."""
    if array.dtype.name == "bfloat16":
        return BFLOAT16
    return NAMES.get(array.dtype.newbyteorder("<").str)


def layout(data: Any, size: int) -> Any:
    """Return where a safetensors file of some size has its arrays, its metadata, the first place.

    Only the header of ``data`` is read, and no memory is taken that is larger than it.
    """
    start = 8 + int.from_bytes(data[:8], "little")
    if len(data) < 8 or start - 8 > HEADER_LIMIT or start > len(data):
        raise CheckpointError("truncated or not a safetensors file; its header does not fit")
    try:
        text = bytes(data[8:start]).decode("utf-8")
        header = json.loads(text, object_pairs_hook=_distinct)
        metadata = header.pop("__metadata__", {})
        _check_format(metadata)
        places, end = {}, 0
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            place = end
            kind, shape, end = _read_entry(entry, end)
            places[name] = kind, shape, place
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"damaged or not a safetensors file; {error}") from None
    if end != size - start:
        raise CheckpointError(
            f"truncated or not a safetensors file; the header describes {end} bytes of arrays, the "
            f"file has {size - start}"
        )
    if not isinstance(metadata, dict):
        raise CheckpointError("damaged or not a safetensors file; its metadata is no object")
    return places, metadata, start


def _check_format(metadata):
    """Refuse our other formats by name before anything else, for all else may be new in them."""
    found = metadata.get("format") if isinstance(metadata, dict) else None
    if isinstance(found, str) and found != FORMAT and OURS.fullmatch(found):
        raise _other_format(found)


def _other_format(found):
    return CheckpointError(
        f"not a checkpoint of this version; its format is {found!r}, expected {FORMAT!r}"
    )


def _distinct(pairs):
    """The dict of a JSON object; a key that comes twice is refused."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _read_entry(entry, expected_start):
    """Type, shape and end of an array that must begin where the one before ended."""
    start, end = entry["data_offsets"]
    kind, shape = entry["dtype"], tuple(entry["shape"])
    if len(shape) > MOST_AXES:
        raise ValueError(f"an array has {len(shape)} axes")
    if any(type(n) is not int or not 0 <= n < 2**63 for n in (start, end, *shape)):
        raise ValueError("sizes must be integers")
    if start != expected_start or end - start != math.prod(shape) * np.dtype(DTYPES[kind]).itemsize:
        raise ValueError("an array's size does not fit its shape")
    return kind, shape, end


def _check_sum(head, arrays, found):
    """Refuse a file whose bytes do not have the checksum that it states."""
    if (
        not isinstance(found, str)
        or not re.fullmatch("[0-9a-f]{64}", found)
        or (head.count(found.encode()) != 1)
    ):
        raise CheckpointError("not a fastreg checkpoint; it carries no checksum")
    if sha256(head.replace(found.encode(), BLANK.encode()), arrays) != found:
        raise CheckpointError("damaged; the checksum does not fit")


def _without_arrays(value, where, arrays):
    """The tree with references for arrays, which are collected in native little-endian order."""
    if isinstance(value, np.ndarray):
        if _name_of(value) is None:
            raise TypeError(f"save: {where} must have a dtype of numbers, got {value.dtype}")
        name = where.removeprefix("state/")
        while name in arrays or name == "__metadata__":  # "a/b" and "a" with "b" are two arrays
            name += "'"
        dtype = value.dtype.newbyteorder("<")
        arrays[name] = np.ascontiguousarray(value, dtype).reshape(value.shape)
        return {REFERENCE: name}
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or key == REFERENCE:
                raise TypeError(f"save: {where} must have strings as keys, got {key!r}")
        return {k: _without_arrays(item, f"{where}/{k}", arrays) for k, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_arrays(item, f"{where}/{i}", arrays) for i, item in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"save: {where} must be an array or a JSON value, got {type(value).__name__}")


def _with_arrays(tree, arrays):
    """Undo `_without_arrays`."""
    if isinstance(tree, dict):
        if tree.keys() == {REFERENCE}:
            return arrays.pop(tree[REFERENCE])  # each has one place
        return {key: _with_arrays(item, arrays) for key, item in tree.items()}
    return [_with_arrays(item, arrays) for item in tree] if isinstance(tree, list) else tree
