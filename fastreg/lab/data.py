"""The lab's data: bundled sets, a synthetic one, and the user's own file by the same option.

A problem is split and standardised so that nothing leaks from validation or test into training.
"""

from __future__ import annotations

import functools
import hashlib
import re
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.datasets

from fastreg._core.checks import integer, number
from fastreg._core.checks import path as path_of
from fastreg.data import Dataset, Standardizer, read_csv, read_idx, read_npz, split
from fastreg.nn import mse, softmax_cross_entropy

__all__ = ["BUNDLED", "OPTIONS", "Problem", "fingerprint", "load", "with_options"]

BUNDLED = ("digits", "breast_cancer", "wine", "diabetes", "synthetic")
OPTIONS = ("drop", "missing", "words", "delimiter", "encoding")  # of `read_csv`
FEWEST_ROWS = 30  # of a data set: 6 each for validation and test
FEWEST_PER_CLASS = 5  # so that each class comes in all three parts
MOST_ROWS = 6000  # of a larger file, drawn with the seed: an experiment trains a hundred times
WIDEST = 3.0  # standard deviations: a pixel set in one training image would outweigh all others
INFORMATIVE, FEATURES, SAMPLES = 8, 64, 1000  # of the synthetic set


@dataclass(frozen=True)
class Problem(Dataset):
    """A data set and its kind of targets: classes, or reals in standard deviations."""

    n_classes: int | None
    informative: tuple[Any, ...] | None  # which features matter, where that is known
    rows: int  # of the whole set, before it was cut

    @property
    def n_in(self) -> Any:
        """Features."""
        return self.X_train.shape[1]

    @property
    def n_out(self) -> Any:
        """The number of outputs that a network needs."""
        return self.n_classes or 1

    @property
    def loss(self) -> Any:
        """The loss to train with."""
        return softmax_cross_entropy if self.n_classes else mse

    @property
    def loss_label(self) -> Any:
        """The loss and its unit, for an axis."""
        return "cross-entropy (nats per sample)" if self.n_classes else "squared error (variances)"

    @property
    def score_label(self) -> Any:
        """The score and its unit, for an axis."""
        return "accuracy (%)" if self.n_classes else "variance explained (%)"

    @property
    def score_name(self) -> Any:
        """The score without its unit."""
        return self.score_label.partition(" (")[0]

    @property
    def score_step(self) -> Any:
        """The change of the score by one more correct test row."""
        return 1.0 / len(self.y_test) if self.n_classes else 0.0

    @property
    def score_range(self) -> Any:
        """The range of the score, in per cent."""
        return (0.0 if self.n_classes else -np.inf), 100.0

    @property
    def error_label(self) -> Any:
        """The error, 100 % less the score, and its unit, for an axis."""
        return "errors (%)" if self.n_classes else "variance left (%)"

    @property
    def guess(self) -> Any:
        """What a guess is based on; its loss is `ignorant_loss`."""
        return "how often each class comes" if self.n_classes else "the mean of the targets"

    @property
    def ignorant_loss(self) -> Any:
        """The loss of a model that has learnt nothing but how often each class comes."""
        if not self.n_classes:
            return float(np.mean((self.y_val - self.y_train.mean()) ** 2))
        counts = np.bincount(self.y_train, minlength=self.n_classes)
        share = np.maximum(counts, 1) / len(self.y_train)  # a cut may lose a class
        return float(-np.mean(np.log(share[self.y_val])))

    def score(self, outputs: Any, y: Any) -> Any:
        """Return the share of rows predicted correctly, or of variance explained."""
        if self.n_classes:
            return float(np.mean(outputs.argmax(axis=1) == y))
        left = np.mean((outputs[:, 0].astype(np.float64) - y) ** 2)
        return float(1.0 - left / (np.var(y) or 1.0))  # a few rows may all have one target

    def describe(self) -> Any:
        """Return one line for a list of settings."""
        train, val, test = self.sizes
        kind = f"{self.n_classes} classes" if self.n_classes else "a real target"
        cut = f", {sum(self.sizes)} of {self.rows} rows" if sum(self.sizes) < self.rows else ""
        return (
            f"{self.name}: {self.n_in} features, {kind}{cut}; {train} rows for training, {val} for "
            f"validation, {test} for test, split anew for each seed; features standardised by the "
            f"training rows and clipped to ±{WIDEST:g}"
        )


def load(data: str, seed: int = 0, *, label_noise: Any = 0.0) -> Any:
    """Split a data set with a seed.

    Parameters
    ----------
    data : str or path
        One of `BUNDLED`; or a CSV file, whose last column is the target unless another is named
        as in ``"houses.csv#price"`` or placed as in ``"houses.csv#0"``; or an ``.npz`` file with
        arrays X and y; or an IDX file of images beside one of labels, named as MNIST's are. Options
        of `fastreg.data.read_csv` are written as in a web address,
        ``"houses.csv?drop=id,city&missing=drop&words=one-hot#price"``; see `with_options`.
        Whole-number targets are classes where each comes at least 5 times.
    seed : int
        Governs the split.
    label_noise : float, keyword-only
        Share of the training rows whose targets are exchanged at random: noise to overfit.
        Validation and test data stay as they are.

    Returns
    -------
    Problem

    Raises
    ------
    ValueError, OSError
        If a name or file is not a data set; the message is one line.

    Examples
    --------
    >>> load("wine").sizes
    (108, 35, 35)
    """
    path_of("load", "data", data)
    seed = integer("load", "seed", seed, low=0)
    label_noise = number("load", "label_noise", label_noise, low=0.0, high=1.0)
    X, y, informative = _read(str(data), fingerprint(data))
    rows = len(X)
    if rows > MOST_ROWS:
        kept = np.sort(np.random.default_rng(seed).permutation(rows)[:MOST_ROWS])
        X, y = X[kept], y[kept]
    parts = vars(split(Path(str(data)).name, X, y, rng=seed))
    for name in ("X_train", "X_val", "X_test"):
        parts[name] = parts[name].clip(-WIDEST, WIDEST)
    n_classes = int(y.max()) + 1 if y.dtype.kind == "i" else None
    if not n_classes:
        standardize = Standardizer(parts["y_train"][:, None])
        for name in ("y_train", "y_val", "y_test"):
            parts[name] = standardize(parts[name][:, None])[:, 0]
    parts["y_train"] = _exchanged(parts["y_train"], label_noise, seed)
    return Problem(**parts, n_classes=n_classes, informative=informative, rows=rows)


def _exchanged(y, share, seed):
    rng = np.random.default_rng([seed, 1])
    rows = rng.permutation(len(y))[: round(share * len(y))]
    y = y.copy()
    y[np.sort(rows)] = y[rows]
    return y


def fingerprint(data: str) -> Any:
    """Return what distinguishes two files of one name; nothing for a bundled set."""
    if str(data) in BUNDLED:
        return ""
    path, _, _ = _place(str(data))
    if path is None:
        raise ValueError(f"data must be one of {', '.join(BUNDLED)} or a file, got {str(data)!r}")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def with_options(data: str, **options: Any) -> Any:
    """Return a data set's name with options for `fastreg.data.read_csv`, those that are not None.

    ``drop`` is a sequence of names or places; see `OPTIONS` for the others.

    Examples
    --------
    >>> with_options("digits", missing=None)
    'digits'
    """
    options = {name: value for name, value in options.items() if value is not None}
    path, given, target = _place(data)
    if not options or path is None:
        return data
    if "drop" in options:
        options["drop"] = ",".join(map(str, options["drop"]))
    query = urllib.parse.urlencode({**given, **options})
    return f"{path}?{query}" + ("" if target is None else f"#{target}")


def _place(data) -> tuple[Any, dict[str, str], str | None]:
    """Return the file, the options after a ``?`` and the target after a ``#``.

    Either sign may also be part of the path: the longest that is a file is the path. All behind
    the first ``#`` after it is the target's name, further signs included.
    """
    for end in [len(data), *(i for i in range(len(data) - 1, 0, -1) if data[i] in "?#")]:
        if Path(data[:end]).is_file():
            query, found, target = data[end:].partition("#")
            options = urllib.parse.parse_qsl(query.removeprefix("?"), keep_blank_values=True)
            if len(dict(options)) < len(options):
                raise ValueError(f"{data[:end]} must be given each option once, got {query!r}")
            return Path(data[:end]), dict(options), target if found else None
    return None, {}, None


def _read_table(path, target, options):
    """Read a text table; its delimiter is found unless it is given."""
    unknown = set(options) - set(OPTIONS)
    if unknown:
        raise ValueError(f"{path} can be read with {', '.join(OPTIONS)}, got {min(unknown)!r}")
    if "drop" in options:
        options["drop"] = [_column(name) for name in options["drop"].split(",") if name]
    delimiter = options.pop("delimiter", None)
    delimiter = "\t" if delimiter in ("tab", r"\t") else delimiter  # as typed in a shell
    target = -1 if target is None else _column(target)
    return read_csv(path, target=target, delimiter=delimiter, **options)


def _column(text):
    """Return the place of a column, or its name: a number of four digits may be a year."""
    return int(text) if re.fullmatch("-?[0-9]{1,3}", text) else text


@functools.lru_cache(maxsize=4)
def _read(data, digest):
    """Return features, targets and what is known of the features; ``digest`` is for the cache."""
    if data == "synthetic":
        return _synthetic()
    if data in BUNDLED:
        X, y = getattr(sklearn.datasets, f"load_{data}")(return_X_y=True)
        return X, y.astype(np.int64 if data != "diabetes" else np.float64), None
    path, options, target = _place(data)
    is_images = "idx" in path.name and not {".csv", ".tsv", ".txt"} & set(path.suffixes)
    if options and (is_images or path.suffix == ".npz"):
        raise ValueError(f"{path} is no text table and takes no {min(options)!r}")
    if path.suffix == ".npz":
        X, y = read_npz(path, y="y" if target is None else target)
    elif is_images:
        if target is not None:
            raise ValueError(f"{path} has its targets in a file of labels, not in {target!r}")
        X, y = read_idx(path), read_idx(_labels_of(path))
    else:
        X, y = _read_table(path, target, options)
    return *_checked(path, X, y), None


def _labels_of(path):
    labels = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    if labels == path or not labels.is_file():
        raise ValueError(f"{path} must be named as MNIST's images are, beside its file of labels")
    return labels


def _checked(name, X, y):
    """Return features as a table and targets as classes 0, 1, … or reals, or refuse them."""
    X, y = np.asarray(X), np.asarray(y)
    if X.dtype.kind not in "fiub" or y.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold numbers, got {X.dtype} features, {y.dtype} targets")
    if X.ndim < 2 or y.ndim != 1 or len(X) != len(y):
        raise ValueError(
            f"{name} must have a row of features for each target, got shapes {X.shape} and "
            f"{y.shape}"
        )
    X = X.reshape(len(X), -1).astype(np.float64)
    if not X.shape[1]:
        raise ValueError(f"{name} must have features beside its target, got one column")
    if len(X) < FEWEST_ROWS:
        raise ValueError(f"{name} must have at least {FEWEST_ROWS} rows, got {len(X)}")
    bad = ~np.isfinite(np.column_stack([X, y]))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        place = "the target" if column == X.shape[1] else f"feature {column + 1}"
        raise ValueError(f"{name} must be finite, got NaN or infinity as {place} of row {row + 1}")
    y = y.astype(np.float64)
    values, classes, counts = np.unique(y, return_inverse=True, return_counts=True)
    if len(values) == 1:
        raise ValueError(f"{name} must have a target that varies, got {values[0]:g} in every row")
    if (y != np.trunc(y)).any():
        return X, y
    if counts.min() >= FEWEST_PER_CLASS:
        return X, classes.astype(np.int64)
    if len(values) > FEWEST_ROWS:  # whole numbers that are not classes
        return X, y
    rare = counts.argmin()
    raise ValueError(
        f"{name} must have {FEWEST_PER_CLASS} rows of each class, got {counts[rare]} of class "
        f"{values[rare]:g}"
    )


def _synthetic():
    """Two classes by the sign of a noisy sum of a few features among many that say nothing."""
    rng = np.random.default_rng(20)
    X = rng.normal(size=(SAMPLES, FEATURES))
    informative = np.sort(rng.permutation(FEATURES)[:INFORMATIVE])
    slopes = rng.choice([-1.0, 1.0], INFORMATIVE) * rng.uniform(0.7, 1.3, INFORMATIVE)
    y = X[:, informative] @ slopes + 0.5 * rng.normal(size=SAMPLES) > 0
    return X, y.astype(np.int64), tuple(informative.tolist())
