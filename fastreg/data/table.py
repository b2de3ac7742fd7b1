"""Columns of a table as features and targets: left out, missing, numbers or words.

A number is written as in C, in ASCII digits. An entry that only some readers take for a number
(``1,200``, ``2,5``, ``5%``, ``1_000``, ``infinity``) is refused with its place: read as a word, a
single one would turn a column of numbers into names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core.checks import choice, integer, items, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastreg._core.types import Array

__all__ = ["Choices", "assemble", "from_frame", "kind_of", "short", "text_column"]

MISSING = {
    "", "?", ".", "-", "NA", "na", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "NAN", "-nan",
    "-NaN", "NULL", "Null", "null", "None", "NaT",
}  # fmt: skip
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?").fullmatch
WHOLE = re.compile(r"[+-]?[0-9]+").fullmatch
CURRENCY = "$¢£¤¥₠-⃀﷼＄￡￥￦"
MARKS = re.compile(
    rf"[\s,.'’\"_%‰()\u200b-\u200f\u2060\ufeff]|[A-Z]{{0,3}}[{CURRENCY}]|^[+\-−–=]+|[-−]$"
    r"|[eE][+\-−]?(?=\d+$)"
)  # what people write in and around the digits of a number
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE).fullmatch
LONGEST = 40  # characters of an entry or a name that an error repeats
MOST_NAMED = 10  # columns that an error lists
MOST_WORDS = 1000  # of one column: each becomes a column
ROW_NAMES = {"id", "index", "row", "rowid", "row_id", "rownames", "row_names"}


def short(text: str) -> str:
    """The repr of a text, cut where it would fill the screen."""
    return repr(text) if len(text) <= LONGEST else f"{text[:LONGEST]!r}… ({len(text)} characters)"


def label(name: str | None, place: int) -> str:
    """What an error calls a column."""
    return f"column {short(name) if name else place}"


@dataclass
class Column:
    """One column: float64 or int64 numbers, or an object array of words; and what is missing."""

    name: str | None  # None in a table without a header
    place: int
    values: np.ndarray
    missing: np.ndarray

    @property
    def label(self) -> str:
        """What an error calls it."""
        return label(self.name, self.place)

    @property
    def is_words(self) -> bool:
        """Whether the entries are words."""
        return self.values.dtype == object


@dataclass
class Choices:
    """The caller's choices for a table's columns, checked before the table is read."""

    where: str
    target: str | int
    drop: Sequence[int | str] | None
    missing: str
    words: str

    def __post_init__(self) -> None:
        self.target = self._column("target", self.target)
        if self.drop is not None:
            found = items(self.drop)
            found = (self.drop,) if found is None else found
            self.drop = tuple(self._column("drop", one) for one in found)
        choice(self.where, "missing", self.missing, ("refuse", "drop"))
        choice(self.where, "words", self.words, ("refuse", "one-hot"))

    def _column(self, name, value):
        if isinstance(value, str):
            return value.strip()
        try:
            return integer(self.where, name, value, low=-(2**31), high=2**31)
        except TypeError:
            raise TypeError(
                f"{self.where}: {name} must be the name of a column or its place, an int from 0, "
                f"got {shown(value)}"
            ) from None

    @property
    def use_names(self) -> bool:
        """Whether a column is called by its name."""
        return any(isinstance(one, str) for one in (self.target, *(self.drop or ())))

    def places(self, where: str, names: list[str] | None, width: int) -> tuple[int, list[int]]:
        """Return the target's place and those of the features."""
        target = _place(where, "target", self.target, names, width)
        drop = {_place(where, "drop", one, names, width) for one in self.drop or ()}
        if target in drop:
            raise ValueError(
                f"{where} must keep its target, got drop with column {target}; name another target"
            )
        features = [i for i in range(width) if i != target and i not in drop]
        return target, features


def _place(where, argument, column, names, width):
    if isinstance(column, str):
        found = [i for i, name in enumerate(names or ()) if name == column]
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(
                f"{where} must have one column {short(column)}, got {len(found)}; give {argument} "
                f"a place, one of {found}"
            )
        listed = ", ".join(map(short, (names or ())[:MOST_NAMED]))
        more = f", … ({len(names)} in all)" if len(names or ()) > MOST_NAMED else ""
        raise ValueError(
            f"{where} must have one column {short(column)}, got [{listed}{more}]; correct "
            f"{argument}"
        )
    if not -width <= column < width:
        raise ValueError(
            f"{where} must have a column {column}, got {width} columns; correct {argument}"
        )
    return column % width


def _counts_rows(column):
    """Whether a column merely numbers the rows, from 0 or 1.

    pandas and R write their index as a column without a name. It tells the order in which rows
    were collected, and many files are sorted by the target.
    """
    values, name, n = column.values, column.name, len(column.values)
    if n < 2 or column.is_words or column.missing.any() or values[0] not in (0, 1):
        return False
    if not np.array_equal(values, values[0] + np.arange(n)):
        return False
    if name is None:
        return n >= 10  # a shorter column may be 1, 2, 3 by chance
    return not name or name.casefold() in ROW_NAMES or name.startswith("Unnamed:")


def kind_of(entry: Any) -> Any:
    """Whether a text is a number, missing, a number to some readers only, or a word."""
    if NUMBER(entry):
        return "number"
    if entry in MISSING:
        return "missing"
    if len(entry) < 100 and MARKS.sub("", entry).isdigit() or INFINITE(entry):
        return "marked"
    return "word"


def text_column(where: str, name: str | None, place: Any, entries: Any, at: Any) -> Any:
    """Read a column of texts or refuse an entry that does not fit; ``at(i)`` is its place."""
    column = label(name, place)
    values = _plain(entries)
    if values is not None:
        return Column(name, place, values, np.zeros(len(entries), bool))
    entries = [entry.strip() for entry in entries]
    kinds = [kind_of(entry) for entry in entries]
    missing = np.array([kind == "missing" for kind in kinds])
    if "marked" in kinds:
        i = kinds.index("marked")
        raise ValueError(
            f"{where}, {at(i)} must hold numbers spelled as 1234.5, got "
            f"{short(entries[i])} in {column}; correct it, or read the file with pandas.read_csv "
            "(thousands=, decimal=) and pass it to from_frame"
        )
    if "word" not in kinds:
        return Column(name, place, _numbers(where, column, entries, missing, at), missing)
    if "number" in kinds:
        i, j = kinds.index("word"), kinds.index("number")
        raise ValueError(
            f"{where}, {at(i)} must hold numbers in {column} as {at(j)} does, got "
            f"{short(entries[i])}; correct it, or leave the column out with drop=[{place}]"
        )
    return Column(name, place, np.array(entries, object), missing)


def _plain(entries):
    """The numbers of a column that has nothing else and needs no second look, or None.

    What `float` reads beyond C's spelling has an underscore, an n (of nan and inf) or a digit
    beyond ASCII; a second look is due beyond the integers that float64 holds.
    """
    text = "".join(entries)
    if not text.isascii() or any(mark in text for mark in "_nN"):
        return None
    try:
        values = np.fromiter(map(float, entries), np.float64, len(entries))
    except ValueError:
        return None
    return values if np.abs(values).max() < 2**53 else None


def _numbers(where, column, entries, missing, at):
    gap = missing.tolist()
    values = np.array([0.0 if none else float(e) for e, none in zip(entries, gap, strict=True)])
    if not np.isfinite(values).all():
        i = int(np.isinf(values).argmax())
        raise ValueError(
            f"{where}, {at(i)} must hold numbers below 1.8e308, got {short(entries[i])} in {column}"
        )
    if 2**53 <= abs(values).max() < 2**63 and all(
        none or WHOLE(e) for e, none in zip(entries, gap, strict=True)
    ):
        return np.array([0 if n else int(e) for e, n in zip(entries, gap, strict=True)], np.int64)
    return values


def assemble(
    choices: Choices, columns: Sequence[Column], target: Column, at: Callable[[int], str]
) -> tuple[Array, Array]:
    """Return X and y.

    ``columns`` are the features in their order, ``at(i)`` says where row i stands.
    """
    where, every = choices.where, [*columns, target]
    for column in columns:
        if choices.drop is None and _counts_rows(column):
            raise ValueError(
                f"{where} must have features beside the number of the row, got {column.label}; "
                f"leave it out with drop=[{column.name or column.place!r}], or keep it with drop=[]"
            )
    kept = np.ones(len(target.values), bool)
    for column in every:
        if choices.missing == "refuse" and column.missing.any():
            first, n = int(column.missing.argmax()), len(kept)
            kind = "words" if column.is_words else "numbers"
            must = "have a target" if column is target else f"hold {kind}"
            cure = "missing='drop' leaves such rows out, drop=[...] a column"
            if column is target and column.missing.all():  # a delimiter ends every line
                cure = "name another target"
            raise ValueError(
                f"{where}, {at(first)} must {must}, got a missing entry in {column.label} "
                f"({column.missing.sum()} of {n} are); {cure}"
            )
        kept &= ~column.missing
    if not kept.any():
        worst = max(every, key=lambda column: column.missing.sum())
        raise ValueError(
            f"{where} must have a row without missing entries, got none of {len(kept)}; "
            f"{worst.label} misses {worst.missing.sum()}: leave it out with drop=[...]"
        )
    parts = [_features(choices, column, kept, at) for column in columns]
    X = np.empty((int(kept.sum()), sum(part.shape[1] for part in parts)))
    np.concatenate(parts, axis=1, out=X, casting="unsafe")
    return X, _targets(where, target, kept)


def _features(choices, column, kept, at):
    if not column.is_words:
        return column.values[kept, None]
    cure = "drop=[...] leaves the column out"
    if choices.words == "refuse":
        first = int((~column.missing).argmax())
        raise ValueError(
            f"{choices.where}, {at(first)} must hold numbers, got {short(column.values[first])} in "
            f"{column.label}; words='one-hot' makes a column of each word, {cure}"
        )
    words, codes = _ranks(choices.where, column, kept, MOST_WORDS, cure)
    return codes[:, None] == np.arange(words)


def _ranks(where, column, kept, most, cure):
    """The number of different words, and for each row the rank of its word."""
    words, codes = np.unique(column.values[kept], return_inverse=True)
    most = min(most, max(20, len(codes) // 2))  # else each says nothing of another row
    if len(words) > most:
        raise ValueError(
            f"{where} must have at most {most} different words in a column of {len(codes)} rows, "
            f"got {len(words)} in {column.label}; {cure}"
        )
    return len(words), codes.astype(np.int64)


def _targets(where, column, kept):
    values = column.values[kept]
    if column.is_words:
        cure = "a target is a number or one of a few classes"
        return _ranks(where, column, kept, len(kept), cure)[1]
    whole = (abs(values) < 2**53).all() and (values == np.trunc(values)).all()
    return values.astype(np.int64) if whole else values


def from_frame(
    frame: Any,
    *,
    target: int | str = -1,
    drop: Sequence[int | str] | None = None,
    missing: str = "refuse",
    words: str = "refuse",
) -> tuple[Array, Array]:
    """Return features and targets of a pandas table.

    pandas does on request what `read_csv` refuses to guess (decimal commas, thousands marks, dates,
    Excel or Parquet files, means in place of missing entries); this function takes its result.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns of numbers or bools; of strings, which are read like the entries of a file; or of
        dtype category, whose values all count as words.
    target, drop, missing, words : keyword-only
        As in `read_csv`. Places count columns from 0; the index does not count.

    Returns
    -------
    X : ndarray of shape (N, n_features), float64
    y : ndarray of shape (N,)
        As `read_csv` returns them.

    Raises
    ------
    TypeError
        If ``frame`` is not such a table, or an argument is of the wrong kind.
    ValueError
        For whatever `read_csv` refuses, and for columns of another kind, such as dates.

    Examples
    --------
    >>> import pytest
    >>> pandas = pytest.importorskip("pandas")
    >>> frame = pandas.DataFrame({"size": [2, 1], "color": ["red", "blue"], "price": [5.5, 3.5]})
    >>> X, y = from_frame(frame, words="one-hot")
    >>> X.tolist(), y.tolist()
    ([[2.0, 0.0, 1.0], [1.0, 1.0, 0.0]], [5.5, 3.5])
    """
    where = "from_frame: frame"
    choices = Choices("from_frame", target, drop, missing, words)
    if not all(hasattr(frame, name) for name in ("iloc", "columns", "isna")):
        raise TypeError(f"{where} must be a pandas.DataFrame, got {type(frame).__name__}")
    choices.where = where
    names = [str(name).strip() for name in frame.columns]
    place, features = choices.places(where, names, len(names))
    if not len(frame) or not features:
        raise ValueError(
            f"{where} must have rows, and features beside its target, got shape {frame.shape}"
        )

    def at(i):
        return f"row {i}"

    columns = [_frame_column(where, names[i], i, frame.iloc[:, i], at) for i in (*features, place)]
    return assemble(choices, columns[:-1], columns[-1], at)


def _frame_column(where, name, place, series, at):
    missing = series.isna().to_numpy(bool)
    kind, is_category = series.dtype.kind, hasattr(series, "cat")
    if kind in "iufb" and not is_category:
        exact = kind in "iu" and not missing.any() and series.max() < 2**63
        if exact:
            values = series.to_numpy(np.int64)
        else:
            values = series.to_numpy(np.float64, na_value=np.nan)
        if np.isinf(values).any():
            raise ValueError(f"{where} must be finite, got infinity in {label(name, place)}")
        return Column(name, place, values, missing)
    entries = ["" if none else one for one, none in zip(series, missing.tolist(), strict=True)]
    if is_category:
        return Column(name, place, np.array([str(one) for one in entries], object), missing)
    other = next((one for one in entries if not isinstance(one, str)), None)
    if kind not in "OTU" or other is not None:
        found = "" if other is None else f"{type(other).__name__} {short(str(other))} in "
        raise ValueError(
            f"{where} must have columns of numbers, of strings or of dtype category, got {found}"
            f"{label(name, place)} of dtype {series.dtype}; convert it with astype"
        )
    return text_column(where, name, place, entries, at)
