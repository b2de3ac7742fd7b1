"""Data sets: read from files, split by class, standardised by their training part."""

import csv
import gzip
import math
import zlib
from dataclasses import dataclass

import numpy as np

from fastreg._checks import number

__all__ = ["Dataset", "Standardizer", "read_csv", "read_idx", "read_npz", "split"]

# IDX: the third byte of a file names the type of its entries, which are big-endian.
IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Dataset:
    """A problem in three disjoint parts, features in float32.

    Examples
    --------
    >>> data = split("numbers", np.arange(10.0)[:, None], np.arange(10) % 2, rng=0)
    >>> data.sizes
    (6, 2, 2)
    """

    name: str
    X_train: np.ndarray
    y_train: np.ndarray
    X_val: np.ndarray
    y_val: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

    @property
    def sizes(self):
        """Samples in training, validation and test."""
        return len(self.y_train), len(self.y_val), len(self.y_test)


class Standardizer:
    """Shift and scale every feature to mean 0 and standard deviation 1 on the data it has seen.

    Parameters
    ----------
    X : array of shape (N, n_features)
        Training data, nothing else: what is learnt from other data leaks into training.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_features,)
        In float64; the scale of a constant feature is 1.

    Examples
    --------
    >>> standardize = Standardizer(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> standardize(np.array([[2.0, 6.0]]))
    array([[0., 1.]], dtype=float32)
    """

    def __init__(self, X):
        X = np.asarray(X, np.float64)
        self.mean, self.scale = X.mean(axis=0), X.std(axis=0)
        self.scale[X.min(axis=0) == X.max(axis=0)] = 1.0

    def __call__(self, X):
        """Return X transformed, in float32."""
        return ((np.asarray(X, np.float64) - self.mean) / self.scale).astype(np.float32)


def split(name, X, y, *, validation=0.2, test=0.2, standardize=True, rng=None):
    """Split into training, validation and test; standardise by the training part.

    Rows are shuffled within their class, and each part takes evenly spaced rows of the classes
    in turn, so that every class has its share of each part to within one row.

    Parameters
    ----------
    name : str
        Of the data set.
    X, y : array of shape (N, n_features), array of shape (N,)
        Features and classes, or real targets; those are binned by rank in the same way.
    validation, test : float, keyword-only
        Shares of all rows, at least 0 and together below 1.
    standardize : bool, keyword-only
        Whether features are standardised.
    rng : anything `numpy.random.default_rng` takes, keyword-only
        Source of the shuffle.

    Returns
    -------
    Dataset

    Raises
    ------
    TypeError, ValueError
        Shares out of range, features that are no numbers, lengths that differ, no training data.

    Examples
    --------
    >>> data = split("numbers", np.arange(10.0)[:, None], np.arange(10) % 2, rng=0)
    >>> float(abs(data.X_train.mean())) < 1e-6
    True
    """
    validation = number("split", "validation", validation, low=0.0, high=1.0, open_high=True)
    test = number("split", "test", test, low=0.0, high=1.0 - validation, open_high=True)
    X, y = np.asarray(X), np.asarray(y)
    if X.dtype.kind not in "fiub":
        raise TypeError(f"split: X must be an array of real numbers, got dtype {X.dtype}")
    if X.ndim < 2 or len(X) != len(y):
        raise ValueError(
            f"split: X and y must have one row a sample, got shapes {X.shape} and {y.shape}"
        )
    order = np.random.default_rng(rng).permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    in_val, rest = _spread(order, validation)
    in_test, in_train = _spread(rest, test / (1.0 - validation))
    if not len(in_train):
        raise ValueError(f"split: X must leave rows for training, got {len(X)} in all")
    transform = Standardizer(X[in_train]) if standardize else np.float32
    parts = [(transform(X[rows]), y[rows]) for rows in map(np.sort, (in_train, in_val, in_test))]
    return Dataset(name, *(array for part in parts for array in part))


def _spread(rows, share):
    """Evenly spaced rows that make up a share, and the others."""
    places = np.floor(np.arange(len(rows) + 1) * share + 1e-9)
    taken = np.diff(places) > 0
    return rows[taken], rows[~taken]


def read_npz(path, *, X="X", y="y"):
    """Return the arrays X and y of an ``.npz`` file; nothing in it is executed.

    Parameters
    ----------
    path : str or path
        A file that `numpy.savez` wrote.
    X, y : str, keyword-only
        Names of features and targets in the file.

    Raises
    ------
    ValueError
        If the file is damaged, lacks a name or holds Python objects.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "data.npz"
    >>> np.savez(path, X=np.eye(2), y=[0, 1])
    >>> read_npz(path)[1]
    array([0, 1])
    """
    with open(path, "rb") as data:
        try:
            with np.load(data, allow_pickle=False) as file:
                missing = [name for name in (X, y) if name not in file]
                if missing:
                    raise ValueError(f"it has {sorted(file)}, not {missing}")
                return file[X], file[y]
        except Exception as error:  # zipfile and zlib have a dozen kinds for damaged files
            raise ValueError(
                f"read_npz: {path} must hold the arrays {X} and {y}; {error}"
            ) from None


def read_csv(path, *, target=-1, delimiter=","):
    r"""Return features and targets of a text table.

    Parameters
    ----------
    path : str or path
        UTF-8 text. The first line is a header if `target` is a name or one of its features is
        no number.
    target : str or int, keyword-only
        Name or place of the target column, the last by default.
    delimiter : str, keyword-only
        Between entries.

    Returns
    -------
    X : ndarray of shape (N, n_features), float64
        Every other column.
    y : ndarray of shape (N,)
        Whole numbers as int64, other numbers as float64, words as the rank of each among the
        sorted distinct words.

    Raises
    ------
    ValueError
        No rows, an unknown column, a row of another length or an entry that is no number, with
        its line.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "data.csv"
    >>> _ = path.write_text("width,height,kind\n1,2,cat\n3,4,ant\n")
    >>> X, y = read_csv(path, target="kind")
    >>> X.tolist(), y.tolist()
    ([[1.0, 2.0], [3.0, 4.0]], [1, 0])
    """
    where = f"read_csv: {path}"
    with open(path, newline="", encoding="utf-8-sig") as file:
        try:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            rows = [(reader.line_num, row) for row in reader if row]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{where} must be a text table in UTF-8; {error}") from None
    if not rows:
        raise ValueError(f"{where} must have rows, got none")
    columns = list(rows[0][1])
    place = _place(where, target, columns)
    is_feature = [i != place for i in range(len(columns))]
    if isinstance(target, str) or not all(
        _is_number(entry) for entry, keep in zip(columns, is_feature, strict=True) if keep
    ):
        rows = rows[1:]
    if not rows:
        raise ValueError(f"{where} must have rows below its header, got none")
    X, y = np.empty((len(rows), len(columns) - 1)), []
    for i, (line, row) in enumerate(rows):
        if len(row) != len(columns):
            raise ValueError(
                f"{where}, line {line} must have {len(columns)} entries, got {len(row)}"
            )
        y.append(row.pop(place).strip())
        if not y[-1]:
            raise ValueError(f"{where}, line {line} must have a target, got an empty entry")
        try:
            X[i] = row
        except ValueError as error:
            raise ValueError(f"{where}, line {line} must hold numbers; {error}") from None
    return X, _targets(y)


def _place(where, target, columns):
    names = [name.strip() for name in columns]
    if isinstance(target, str):
        if names.count(target) != 1:
            raise ValueError(f"{where} must have one column {target!r}, got {names}")
        return names.index(target)
    if not -len(columns) <= target < len(columns):
        raise ValueError(f"{where} must have a column {target}, got {len(columns)} columns")
    return target % len(columns)


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _targets(words):
    if not all(map(_is_number, words)):
        return np.unique(words, return_inverse=True)[1].astype(np.int64)
    values = np.array(words, np.float64)
    whole = (np.abs(values) < 2**53).all() and (values == np.trunc(values)).all()
    return values.astype(np.int64) if whole else values


def read_idx(path):
    """Return the array of an IDX file, the format of MNIST, plain or gzipped.

    Parameters
    ----------
    path : str or path
        The file; images come as (N, rows, columns), labels as (N,).

    Raises
    ------
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
    with open(path, "rb") as file:
        data = file.read()
    if data[:2] == GZIP:
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise ValueError(f"read_idx: {path} must be whole; {error}") from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in IDX_TYPES or data[3] > 32:
        raise ValueError(f"read_idx: {path} must be an IDX file, got the start {data[:4].hex()}")
    dtype, start = np.dtype(IDX_TYPES[data[2]]), 4 + 4 * data[3]
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4))
    if len(data) != start + math.prod(shape) * dtype.itemsize:
        raise ValueError(
            f"read_idx: {path} must have {math.prod(shape)} entries for shape {shape}, got "
            f"{len(data) - start} bytes"
        )
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
