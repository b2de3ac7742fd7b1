"""Checkpoints: a tree of arrays and JSON values in one file that is whole or is refused.

The file is a safetensors file, which any reader of that format opens: eight bytes with the length
of a JSON header, the header, the arrays end to end. Its ``__metadata__`` holds the format's
version, fastreg's version, the tree with a reference in the place of each array, and the SHA-256
of the whole file, taken with 64 zeros in its own place. Nothing in it is ever executed.
"""

import hashlib
import itertools
import json
import math
import os
import platform
import re
from contextlib import suppress

import numpy as np

__all__ = ["CheckpointError", "load", "save"]

FORMAT = "fastreg checkpoint 1"
BLANK = "0" * 64
REFERENCE = "$array"
HEADER_LIMIT = 100_000_000  # bytes, as in the safetensors library
DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
NAMES = {np.dtype(code): name for name, code in DTYPES.items()}
HOST = re.sub(r"\W", "-", platform.node())
turns = itertools.count()  # two threads may save to one path


class CheckpointError(Exception):
    """A file that is damaged, foreign or made for something else; the message says which.

    Examples
    --------
    >>> raise CheckpointError("model.ckpt: damaged, the checksum does not fit")
    Traceback (most recent call last):
    ...
    fastreg.checkpoint.CheckpointError: model.ckpt: damaged, the checksum does not fit
    """


def save(path, state):
    """Write a tree to a file, so that a crash leaves the old file or the new one.

    The bytes go to a temporary file in the same folder, are forced to the disk and renamed; then
    the folder is forced to the disk. What a killed process left of such a file is removed by the
    next save to the same path.

    Parameters
    ----------
    path : str or path
        Where to; an existing file is replaced.
    state : dict
        Keys are strings; values are arrays of numbers or bools, JSON values, lists, or dicts of
        these. Tuples come back as lists, NumPy numbers as Python's.

    Raises
    ------
    TypeError
        A key that is no string, or a value that is neither an array nor JSON.
    OSError
        If the disk refuses; the old file is then untouched.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.ckpt"
    >>> save(path, {"w": np.arange(3.0), "epoch": 7})
    >>> load(path)
    {'w': array([0., 1., 2.]), 'epoch': 7}
    """
    data = encode(state)
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    remove_orphans(folder, name)
    temporary = os.path.join(folder, f".{name}.{HOST}.{os.getpid()}.{next(turns)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.remove(temporary)
        raise
    sync_folder(folder)


def load(path):
    """Read a tree back after its sizes, checksum and version have been verified.

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
    OSError
        If it cannot be read.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        return decode(data)
    except CheckpointError as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}") from None


def encode(state):
    """Return the bytes of a checkpoint."""
    from fastreg import __version__

    if not isinstance(state, dict):
        raise TypeError(f"save: state must be a dict, got {type(state).__name__}")
    arrays = {}
    tree = _without_arrays(state, "state", arrays)
    metadata = {
        "format": FORMAT,
        "fastreg": __version__,
        "sha256": BLANK,
        "state": json.dumps(tree),
    }
    data = pack(arrays, metadata)
    digest = hashlib.sha256(data).hexdigest().encode()
    place = data.index(b'"sha256":"' + BLANK.encode()) + len(b'"sha256":"')
    data[place : place + 64] = digest
    return data


def decode(data):
    """Return the tree in the bytes of a checkpoint."""
    arrays, metadata, start = unpack(data)
    _check_sum(data[:start], memoryview(data)[start:], metadata.get("sha256"))
    if metadata.get("format") != FORMAT:
        found = metadata.get("format")
        raise CheckpointError(
            f"not a checkpoint of this version; its format is {found!r}, expected {FORMAT!r}"
        )
    return _with_arrays(json.loads(metadata["state"]), arrays)


def pack(arrays, metadata):
    """Return the bytes of a safetensors file."""
    header, end = {"__metadata__": metadata}, 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        header[name] = {
            "dtype": NAMES[array.dtype], "shape": array.shape, "data_offsets": [start, end]
        }  # fmt: skip
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned
    parts = [len(text).to_bytes(8, "little"), text]
    return bytearray(b"".join([*parts, *(array.tobytes() for array in arrays.values())]))


def unpack(data):
    """Return the arrays, the metadata and the place of the first array of a safetensors file."""
    size = int.from_bytes(data[:8], "little")
    start = 8 + size
    if len(data) < 8 or size > HEADER_LIMIT or start > len(data):
        raise CheckpointError("truncated or not a safetensors file; its header does not fit")
    try:
        header = json.loads(data[8:start].decode("utf-8"))
        metadata = header.pop("__metadata__", {})
        arrays, end, body = {}, 0, memoryview(data)[start:]
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            arrays[name], end = _read_array(body, entry, end)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"damaged or not a safetensors file; {error}") from None
    if end != len(data) - start:
        raise CheckpointError(
            f"truncated or not a safetensors file; the header describes {end} bytes of arrays, the "
            f"file has {len(data) - start}"
        )
    if not isinstance(metadata, dict):
        raise CheckpointError("damaged or not a safetensors file; its metadata is no object")
    return arrays, metadata, start


def _read_array(data, entry, expected_start):
    """One array that must begin where the one before ended, and its end."""
    start, end = entry["data_offsets"]
    dtype, shape = np.dtype(DTYPES[entry["dtype"]]), tuple(entry["shape"])
    if any(type(n) is not int or n < 0 for n in (start, end, *shape)):
        raise ValueError("sizes must be integers")
    if start != expected_start or end - start != math.prod(shape) * dtype.itemsize:
        raise ValueError("an array's size does not fit its shape")
    if end > len(data):
        raise ValueError("it ends before its arrays do")
    flat = np.frombuffer(data, dtype, math.prod(shape), start) if end > start else []
    native = dtype.newbyteorder("=")
    return np.array(flat, native).reshape(shape), end


def _check_sum(head, arrays, found):
    """Refuse a file whose bytes are not those the checksum was taken of."""
    if not isinstance(found, str) or head.count(found.encode()) != 1 or len(found) != 64:
        raise CheckpointError("not a fastreg checkpoint; it carries no checksum")
    digest = hashlib.sha256(head.replace(found.encode(), BLANK.encode()))
    digest.update(arrays)
    if digest.hexdigest() != found:
        raise CheckpointError("damaged; the checksum does not fit")


def _without_arrays(value, where, arrays):
    """The tree with references for arrays, which are collected in native little-endian order."""
    if isinstance(value, np.ndarray):
        dtype = value.dtype.newbyteorder("<")
        if dtype not in NAMES:
            raise TypeError(f"save: {where} must have a dtype of numbers, got {value.dtype}")
        name = where.removeprefix("state/")
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
            return arrays[tree[REFERENCE]]
        return {key: _with_arrays(item, arrays) for key, item in tree.items()}
    return [_with_arrays(item, arrays) for item in tree] if isinstance(tree, list) else tree


def remove_orphans(folder, name):
    """Remove temporary files for this name whose process, on this machine, is no more."""
    if os.name != "posix":
        return  # one cannot ask for a process without disturbing it
    pattern = re.compile(rf"\.{re.escape(name)}\.{re.escape(HOST)}\.(\d+)\.\d+\.tmp")
    for entry in os.listdir(folder):
        match = pattern.fullmatch(entry)
        if match and not _is_alive(int(match[1])):
            with suppress(OSError):
                os.remove(os.path.join(folder, entry))


def _is_alive(process):
    try:
        os.kill(process, 0)  # signal 0 asks and does nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is someone else's
    return True


def sync_folder(folder):
    """Force a folder's entries to the disk, where the system lets one open a folder."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
