"""Text tables: their encoding, the delimiter between entries, and whether there is a header."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import re
import zlib
from typing import TYPE_CHECKING, Any

from fastreg._core.checks import flag, shown
from fastreg._core.checks import path as checked
from fastreg.data.table import Choices, assemble, kind_of, short, text_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastreg._core.types import Array, PathLike

__all__ = ["read_csv"]

UNDECODED = re.compile("[\udc80-\udcff]").search  # bytes, as errors="surrogateescape" keeps them
DELIMITERS = (",", ";", "\t", "|", " ")
BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
HEAD = 20  # lines by which a delimiter is chosen
LONGEST_LINE = 1 << 26  # characters; a line without an end must not fill the memory
GZIP = b"\x1f\x8b"
FOREIGN = {
    b"PK\3\4": "a zip archive or an Excel file", b"PAR1": "a Parquet file", b"BZh": "a bz2 file",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
    b"\xfd7zXZ": "an xz file", b"\x28\xb5\x2f\xfd": "a zstd file", b"\x89HDF": "an HDF5 file",
}  # fmt: skip


def read_csv(
    path: PathLike,
    *,
    target: int | str = -1,
    drop: Sequence[int | str] | None = None,
    delimiter: str | None = ",",
    header: bool | None = None,
    missing: str = "refuse",
    words: str = "refuse",
    encoding: str = "utf-8",
) -> tuple[Array, Array]:
    r"""Return features and targets of a text table, plain or gzipped.

    Nothing is guessed: in a column of numbers, an entry that is not a number is refused with its
    line and column. Read a table that needs more (decimal commas, thousands marks, dates, Excel)
    with pandas, and pass it to `from_frame`.

    Parameters
    ----------
    path : str or path
        The file. Empty lines are skipped, spaces around entries do not count.
    target : str or int, keyword-only
        Name or place of the target column, the last by default. Places count from 0.
    drop : sequence of str or int, keyword-only
        Columns to leave out, by name or place. Without this argument, a column that merely
        numbers the rows and has no name, or a name such as ``id``, is refused, because it tells
        the order of the file; ``drop=[]`` keeps it.
    delimiter : str or None, keyword-only
        Character between entries; spaces may be several. None: the one of ``, ; tab |`` or space
        that fits the first 20 lines.
    header : bool or None, keyword-only
        Whether the first line names the columns. None: it does if ``target`` or ``drop`` names a
        column; otherwise the entries decide: numbers are data, a word above numbers is a name.
    missing : {"refuse", "drop"}, keyword-only
        What to do with rows in which an entry is missing: empty, or ``NA``, ``N/A``, ``NaN``,
        ``NULL``, ``None``, ``?``, ``-``, ``.``. To fill them in instead, learn the value from the
        training rows alone, as scikit-learn's ``SimpleImputer`` does.
    words : {"refuse", "one-hot"}, keyword-only
        What to do with a feature of words. ``"one-hot"``: one column of 0 and 1 for each word, in
        sorted order, in its place. All that is learnt from the whole table is which words exist.
    encoding : str, keyword-only
        Of the text, such as ``"latin-1"`` or ``"utf-16"``.

    Returns
    -------
    X : ndarray of shape (N, n_features), float64
        Every other column.
    y : ndarray of shape (N,)
        Whole numbers as int64, other numbers as float64, words as the rank of each among the
        sorted distinct words.

    Raises
    ------
    TypeError
        An argument of the wrong kind.
    ValueError
        No rows, no features, an unknown column, a row of another length, a missing entry, a word
        among numbers, a number in another spelling or beyond float64, with its line; or a
        delimiter or encoding that does not fit, with the one that does.

    Examples
    --------
    A table as people have it: gzipped, semicolons, row numbers, words, a hole.

    >>> import gzip, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "flats.csv.gz"
    >>> text = ";size;heating;rent\n1;50;gas;700\n2;62;;810\n3;38;oil;655\n"
    >>> _ = path.write_bytes(gzip.compress(text.encode()))
    >>> X, y = read_csv(path, target="rent", drop=[0], delimiter=";", missing="drop",
    ...                 words="one-hot")
    >>> X.tolist(), y.tolist()
    ([[50.0, 1.0, 0.0], [38.0, 0.0, 1.0]], [700, 655])

    Without these options, each of them is an error that names its line and its cure:

    >>> read_csv(path, drop=[0], delimiter=";")  # doctest: +ELLIPSIS, +NORMALIZE_WHITESPACE
    Traceback (most recent call last):
    ValueError: read_csv: ...flats.csv.gz, line 3 must hold words, got a missing entry in column
    'heating' (1 of 3 are); missing='drop' leaves such rows out, drop=[...] a column
    """
    path = checked("read_csv", "path", path)
    where = f"read_csv: {path}"
    choices = Choices("read_csv", target, drop, missing, words)
    choices.where = where
    if header is not None:
        flag("read_csv", "header", header)
    _check_delimiter(delimiter)
    if not isinstance(encoding, str):
        raise TypeError(f"read_csv: encoding must be a str, got {shown(encoding)}")
    if "\0" in encoding:
        raise ValueError(f"read_csv: encoding must be a name, got {shown(encoding)}")
    lines, rows, head, delimiter = _rows(where, path, delimiter, encoding)
    names, last, features = _layout(choices, lines, rows, head, delimiter, header)
    if names is not None:
        del lines[0], rows[0]
    entries: list[Any] = list(zip(*rows, strict=True))

    def at(i):
        return f"line {lines[i]}"

    columns = [
        text_column(where, names[i] if names else None, i, entries[i], at)
        for i in (*features, last)
    ]
    return assemble(choices, columns[:-1], columns[-1], at)


def _check_delimiter(delimiter):
    if delimiter is None:
        return
    if not isinstance(delimiter, str):
        raise TypeError(f"read_csv: delimiter must be a str or None, got {shown(delimiter)}")
    if len(delimiter) != 1 or delimiter.isalnum() or delimiter in '"\0\r\n.+-_':
        raise ValueError(
            "read_csv: delimiter must be one character that no number or quoted entry needs, such "
            f"as ',', ';' or '\\t', got {short(delimiter)}"
        )


def _rows(where, path, delimiter, encoding):
    """Return lines' numbers, their entries, the first lines as text and the delimiter."""
    with open(path, "rb") as file:
        start = file.peek(8)[:8]
        packed = start.startswith(GZIP)
        text = gzip.GzipFile(fileobj=file) if packed else file
        try:
            if packed:
                text = io.BufferedReader(text)
                start = text.peek(8)[:8]
            _check_start(where, start, encoding)
            text = io.TextIOWrapper(text, encoding, errors="surrogateescape", newline="")
            source = _checked_lines(where, text, encoding)
            head = list(itertools.islice(source, HEAD + 1))
            delimiter = delimiter or (*_fitting(head), ",")[0]
            reader = _reader(itertools.chain(head, source), delimiter, strict=True)
            lines, rows = [], []
            for row in reader:
                if len(row) > 1 or (row and row[0].strip()):
                    lines.append(reader.line_num)
                    rows.append(row)
        except LookupError:
            raise ValueError(
                f"read_csv: encoding must be a text encoding that Python knows, got {encoding!r}"
            ) from None
        except csv.Error as error:
            raise ValueError(
                f"{where}, line {reader.line_num} must be a text table; {error}; is a quote open?"
            ) from None
        except UnicodeError as error:
            raise ValueError(
                f"{where} must be a text table in {encoding.upper()}; {error}"
            ) from None
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{where} must be whole; {error}") from None
    if not rows:
        raise ValueError(f"{where} must have rows, got none")
    return lines, rows, head, delimiter


def _check_start(where, start, encoding):
    for magic, kind in FOREIGN.items():
        if start.startswith(magic):
            raise ValueError(
                f"{where} must be a text table, plain or gzipped, got {kind}; unpack it, or read "
                "it with pandas and pass it to from_frame"
            )
    codec = codecs.lookup(encoding).name
    for mark, name in BYTE_ORDER_MARKS.items():
        if start.startswith(mark) and not codec.startswith((name, "utf-32")):
            raise ValueError(
                f"{where} must be a text table in {encoding.upper()}; it begins as {name.upper()} "
                f"does: say encoding={name!r}"
            )


def _checked_lines(where, text, encoding):
    """The lines of a text, none too long and each of them decoded."""
    for number in itertools.count(1):
        line = text.readline(LONGEST_LINE)
        if number == 1:
            line = line.lstrip("\ufeff")  # the byte order mark, which not every codec removes
        if not line:
            return
        if len(line) == LONGEST_LINE:
            raise ValueError(
                f"{where}, line {number} must be shorter than {LONGEST_LINE} characters"
            )
        if "\0" in line:
            raise ValueError(
                f"{where}, line {number} must be a text table in {encoding.upper()}, got NUL; "
                "UTF-16 needs encoding='utf-16'"
            )
        bad = None if line.isascii() else UNDECODED(line)
        if bad:
            raise ValueError(
                f"{where}, line {number} must be a text table in {encoding.upper()}, got the byte "
                f"{ord(bad[0]) - 0xDC00:#x}; for Western European text say encoding='latin-1'"
            )
        yield line


def _without_margin(lines, delimiter):
    """The lines without the spaces at their end, where these would be empty entries."""
    return (line.rstrip(" \r\n") + "\n" for line in lines) if delimiter == " " else lines


def _reader(lines, delimiter, strict):
    lines = _without_margin(lines, delimiter)
    try:
        return csv.reader(lines, delimiter=delimiter, strict=strict, skipinitialspace=True)
    except TypeError as error:  # of options that it has no memory for: ours are all right
        raise MemoryError(f"read_csv: no room for a reader; {error}") from None


def _fitting(head):
    """The delimiters that cut every one of the first lines in equally many entries, at least 2."""
    fits = []
    for delimiter in DELIMITERS:
        reader = _reader(head, delimiter, strict=False)
        try:
            rows = [row for row in reader if row]
        except csv.Error:
            continue
        if len(head) > HEAD:
            rows = rows[:-1]  # the last may go on in the next line
        widths = {len(row) for row in rows}
        if len(widths) == 1 and max(widths) > 1:
            fits.append(delimiter)
    return fits


def _layout(choices, lines, rows, head, delimiter, header):
    """Return the names or None, the target's place and those of the features."""
    where, width = choices.where, len(rows[0])
    others = [one for one in _fitting(head) if one != delimiter]
    hint = f"; delimiter={others[0]!r} fits its first lines" if others else ""
    for line, row in zip(lines, rows, strict=True):
        if len(row) != width:
            raise ValueError(
                f"{where}, line {line} must have {width} entries, got {len(row)}, with "
                f"delimiter={delimiter!r}; line {lines[0]} has {width}{hint}"
            )
    if width == 1:
        raise ValueError(
            f"{where} must have features beside its target, got one column with "
            f"delimiter={delimiter!r}{hint}"
        )
    names = [name.strip() for name in rows[0]]
    if header is None:
        header = choices.use_names or _has_header(choices, lines, rows)
    target, features = choices.places(where, names if header else None, width)
    if not features:
        raise ValueError(f"{where} must have features beside its target, got drop with all of them")
    if header and len(rows) == 1:
        raise ValueError(f"{where} must have rows below its header, got none")
    return names if header else None, target, features


def _has_header(choices, lines, rows):
    """Whether the first line has names; a word above a number is one."""
    first = [kind_of(entry.strip()) for entry in rows[0]]
    target, _ = choices.places(choices.where, None, len(first))
    judged = [i for i, kind in enumerate(first) if i != target and kind != "missing"] or [target]
    words = [i for i in judged if first[i] == "word"]
    below = rows[1:]
    nameless = not rows[0][0].strip() and all(kind_of(row[0].strip()) != "missing" for row in below)
    if not words and not (nameless and below):
        return False
    if any(kind_of(row[i].strip()) in ("number", "marked") for i in words for row in below):
        return True
    entries = {i: rows[0][i].strip() for i in words}
    repeated = any(row[i].strip() == entry for i, entry in entries.items() for row in below)
    if repeated or not words or len(words) < len(judged):  # names that are numbers, perhaps
        raise ValueError(
            f"{choices.where}, line {lines[0]} must be a header or a row of data, and may be "
            "either; say header=True or header=False"
        )
    return True
