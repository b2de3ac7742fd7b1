"""A network's arrays in an ``.npz`` file, which any NumPy reads."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core.checks import path as path_of
from fastreg._core.replace import replace_file
from fastreg.checkpoint import CheckpointError
from fastreg.data.binary import claim, unpacked
from fastreg.export.layers import check_network

if TYPE_CHECKING:
    from fastreg._core.types import PathLike
    from fastreg.nn import Sequential

__all__ = ["load_npz", "npz"]

WIDEST = 16  # bytes of a number


def npz(model: Sequential, path: PathLike) -> None:
    """Write a network's arrays to an ``.npz`` file.

    They are those of ``model.arrays``: weights, biases, scales, shifts and running statistics,
    keyed ``"0.W"``, ``"0.b"``, ``"1.gamma"``, ``"1.running_mean"`` and so on; and the numbers of
    batches that batch norms have seen, ``"1.batches"``. There are no pickles in the file, and it
    replaces the previous one completely or not at all, as checkpoints do.

    Parameters
    ----------
    model : Sequential
        It is not changed.
    path : str or path
        The file to write, under just this name.

    Raises
    ------
    TypeError
        A model that is no network, a path that is no path.
    OSError
        If the disk refuses.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from fastreg.nn import mlp
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "weights.npz"
    >>> npz(mlp([2, 3, 1], rng=0), path)
    >>> sorted(np.load(path))
    ['0.W', '0.b', '2.W', '2.b']
    """
    path = path_of("npz", "path", path)
    check_network("npz", model)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, array in _arrays(model).items():
            # A fixed date: the same arrays are the same bytes.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)
    replace_file(path, content.getbuffer())


def load_npz(model: Sequential, path: PathLike) -> None:
    """Give a network the arrays of an ``.npz`` file; nothing changes unless all of them fit.

    What is no array, such as the seeds of dropout, stays as it is.

    Parameters
    ----------
    model : Sequential
        A network of the shapes and dtypes of the one that was written.
    path : str or path
        A file that `npz` wrote, or any with these names.

    Raises
    ------
    CheckpointError
        If the file is no ``.npz`` file, is damaged, or does not fit; the message lists all
        differences.
    TypeError
        A model that is no network, a path that is no path.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from fastreg.nn import mlp
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "weights.npz"
    >>> first, second = mlp([2, 1], rng=0), mlp([2, 1], rng=1)
    >>> npz(first, path)
    >>> load_npz(second, path)
    >>> bool((first.params["0.W"] == second.params["0.W"]).all())
    True
    """
    path = path_of("load_npz", "path", path)
    check_network("load_npz", model)
    state = model.state_dict()
    known = _arrays(model)
    found = _read(path, state)
    taken: dict[str, Any] = {k: value for k, value in state.items() if k not in known}
    for name, array in found.items():
        counts = name.endswith(".batches") and array.shape == () and array.dtype.kind in "iu"
        taken[name] = int(array) if counts else array
    try:
        model.load_state_dict(taken)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _arrays(model):
    """The arrays, and the counts of batches."""
    state = model.state_dict()
    return {
        name: value
        for name, value in state.items()
        if isinstance(value, np.ndarray) or name.endswith(".batches")
    }


def _read(path, known):
    """The arrays of a file, by name."""
    with open(path, "rb") as file:  # what the system says of it, it says here
        content = io.BytesIO(file.read())
    if content.getbuffer()[:6] == b"\x93NUMPY":
        raise CheckpointError(f"{path}: no .npz file, but a single array")
    try:
        with zipfile.ZipFile(content) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            return {name: _member(archive, i, known.get(name)) for i, name in enumerate(names)}
    except (MemoryError, SystemError) as error:  # NumPy's functions raise either for want of memory
        raise MemoryError(f"{path}: no memory for its arrays") from error
    except Exception as error:  # zipfile and zlib have a dozen kinds for damaged files
        if type(error) is RuntimeError:  # of a lock that cannot be made
            raise MemoryError(f"{path}: no memory for its arrays") from error
        raise CheckpointError(f"{path}: no .npz file, or damaged: {error}") from error


def _member(archive, place, known):
    """An array of an archive; of one that does not fit, its shape alone.

    A small file may unpack to a thousand times its size, and it would be unpacked to be refused.
    """
    shape, dtype = claim(archive, place)
    if dtype.hasobject or dtype.itemsize > WIDEST:
        raise ValueError(f"{archive.infolist()[place].filename} holds no numbers")
    if known is None or shape != np.shape(known):
        return np.broadcast_to(np.zeros((), dtype), shape)
    return unpacked(archive, place)
