"""Arrays read from NumPy's archives and from MNIST's format.

The size that a header claims is compared with that of the file before memory is taken for it.
"""

from __future__ import annotations

import gzip
import math
import os
import stat
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np

from fastreg._core import checks

if TYPE_CHECKING:
    from fastreg._core.types import Array, PathLike

__all__ = ["read_idx", "read_npz"]

# IDX: the third byte of a file names the type of its entries, which are big-endian.
IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP = b"\x1f\x8b"
DENSEST = 1032  # bytes that one byte of DEFLATE may become
ENCRYPTED = 1  # of an entry's flags
LONGEST_HEADER = 10_000  # bytes of a .npy header, as in NumPy
TOO_LARGE = "must be smaller than the memory that is to be had"


class _TooLargeError(ValueError, MemoryError):
    """A file that memory has no room for."""


def read_npz(path: PathLike, *, X: str = "X", y: str = "y") -> tuple[Array, Array]:
    """Return the arrays X and y of an ``.npz`` file; nothing in it is executed.

    Parameters
    ----------
    path : str or path
        A file that `numpy.savez` or `numpy.savez_compressed` wrote.
    X, y : str, keyword-only
        Names of features and targets in the file.

    Raises
    ------
    TypeError
        If the path is not a path, or a name not a name.
    ValueError
        If the file is damaged, lacks a name, holds Python objects, or claims more than it holds.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "data.npz"
    >>> np.savez(path, X=np.eye(2), y=[0, 1])
    >>> read_npz(path)[1]
    array([0, 1])
    """
    path = checks.path("read_npz", "path", path)
    for argument, name in (("X", X), ("y", y)):
        if not isinstance(name, str):
            raise TypeError(f"read_npz: {argument} must be a name, got {checks.shown(name)}")
    with open(path, "rb") as data:
        try:
            with zipfile.ZipFile(data) as archive:
                found = [name.removesuffix(".npy") for name in archive.namelist()]
                missing = [name for name in (X, y) if found.count(name) != 1]
                if missing:
                    raise ValueError(f"it has {sorted(found)}, not {missing}")
                return (member(archive, found.index(X)), member(archive, found.index(y)))
        except (MemoryError, SystemError):  # NumPy's functions raise either for want of memory
            raise _TooLargeError(f"read_npz: {path} {TOO_LARGE}") from None
        except Exception as error:  # zipfile and zlib have a dozen kinds for damaged files
            if type(error) is RuntimeError:  # of a lock that cannot be made
                raise _TooLargeError(f"read_npz: {path} {TOO_LARGE}") from None
            text = str(error) or type(error).__name__
            raise ValueError(f"read_npz: {path} must hold the arrays {X} and {y}; {text}") from None


def claim(archive, place):
    """Shape and dtype of an array of an archive, if its header and both its sizes agree."""
    entry = archive.infolist()[place]
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{entry.filename} is packed in a way that NumPy does not use")
    if entry.flag_bits & ENCRYPTED:
        raise ValueError(f"{entry.filename} is encrypted")
    if entry.file_size > DENSEST * (entry.compress_size + 1):
        raise ValueError(f"{entry.filename} claims {entry.file_size} bytes, more than it can hold")
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        size = int.from_bytes(member.read(2 if version == (1, 0) else 4), "little")
    if version not in ((1, 0), (2, 0)) or size > LONGEST_HEADER:
        raise ValueError(f"{entry.filename} is no array of numbers")
    read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
    with archive.open(entry) as member:
        np.lib.format.read_magic(member)
        shape, _, dtype = read_header(member)
        claimed = member.tell() + math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and claimed != entry.file_size:
        raise ValueError(
            f"{entry.filename} claims {claimed} bytes for shape {shape}, it has {entry.file_size}"
        )
    return shape, dtype


def member(archive, place):
    """One array of an archive, if what it claims is so."""
    claim(archive, place)
    return unpacked(archive, place)


def unpacked(archive, place):
    """One array of an archive whose claim is known to be so."""
    with archive.open(archive.infolist()[place]) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def read_idx(path: PathLike) -> Array:
    """Return the array of an IDX file, the format of MNIST, plain or gzipped.

    Parameters
    ----------
    path : str or path
        The file; images come as (N, rows, columns), labels as (N,).

    Raises
    ------
    TypeError
        If the path is not a path.
    ValueError
        If the file is not IDX, or its size does not fit its header.

    References
    ----------
    LeCun, Cortes & Burges, "The MNIST database of handwritten digits", 1998.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "labels"
    >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    >>> read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    path = checks.path("read_idx", "path", path)
    with open(path, "rb") as file:
        status, packed = os.fstat(file.fileno()), file.peek(2)[:2] == GZIP
        room: float = status.st_size * (DENSEST if packed else 1)
        if not stat.S_ISREG(status.st_mode):
            room = math.inf  # a pipe does not say what is in it
        try:
            return _idx(path, gzip.GzipFile(fileobj=file) if packed else file, room)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"read_idx: {path} must be whole; {error}") from None
        except MemoryError:
            raise _TooLargeError(f"read_idx: {path} {TOO_LARGE}") from None


def _idx(path, file, room):
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in IDX_TYPES or start[3] > 32:
        raise ValueError(f"read_idx: {path} must be an IDX file, got the start {start.hex()}")
    dtype, sizes = np.dtype(IDX_TYPES[start[2]]), file.read(4 * start[3])
    shape = tuple(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, 4 * start[3], 4))
    size = math.prod(shape) * dtype.itemsize
    data = file.read(size + 1) if size <= room else b""
    if len(data) != size or len(sizes) != 4 * start[3]:
        found = "more" if len(data) > size else f"{len(data)} bytes" if size <= room else "less"
        raise ValueError(
            f"read_idx: {path} must have {math.prod(shape)} entries for shape {shape}, got {found}"
        )
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))
