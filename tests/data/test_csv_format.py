"""What a text table is told by: delimiter, header, byte order mark, encoding."""

import gzip
import itertools
import os
import threading

import numpy as np
import pytest
from tables import write

from fastreg.data import read_csv

DELIMITED = "a{0}b{0}y\n1{0}2{0}0\n3{0}4{0}1\n"


@pytest.mark.parametrize(("used", "given"), [*itertools.permutations(",;\t|", 2)])
def test_a_wrong_delimiter_is_refused_with_the_one_that_fits(used, given, tmp_path):
    path = write(tmp_path, DELIMITED.format(used))
    for options in ({}, {"target": "y"}, {"words": "one-hot"}, {"header": False}):
        with pytest.raises(ValueError, match="data.csv.*delimiter=") as caught:
            read_csv(path, delimiter=given, **options)
        if "target" not in options:
            assert f"delimiter={used!r} fits" in str(caught.value)
    X, y = read_csv(path, delimiter=None)
    np.testing.assert_array_equal(X, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(y, [0, 1])


def test_spaces_align_columns_and_stand_before_quotes(tmp_path):
    path = write(tmp_path, "  a   b  y\n1.5   2  0\n 13   4  1\n")
    assert read_csv(path, delimiter=" ")[0].tolist() == [[1.5, 2], [13, 4]]
    path = write(tmp_path, 'a, b, y\n1, "2", "x, y"\n3, "4", "z"\n')
    assert read_csv(path)[1].tolist() == [0, 1]


def test_an_entry_of_many_lines_is_no_reason_against_a_delimiter(tmp_path):
    text = "a;y\n" + "1;x\n" * 19 + '1;"x\n' + "\n" * 30 + '"\n'
    path = write(tmp_path, text)
    assert read_csv(path, delimiter=None, target="y")[0].shape == (20, 1)


def test_columns_that_spaces_align_are_read(tmp_path):
    for text in (
        "a  b   y\n1  2   0\n3 40  1\n",
        "  a b y  \r\n 1 2 0 \r\n 3 40 1",
        "1 2 0 \n3 40 1\n",
    ):
        path = write(tmp_path, text)
        for delimiter in (" ", None):
            X, y = read_csv(path, delimiter=delimiter)
            assert (X.tolist(), y.tolist()) == ([[1, 2], [3, 40]], [0, 1])
        with pytest.raises(ValueError, match="delimiter=' ' fits its first lines"):
            read_csv(path)


def test_empty_lines_before_a_table_do_not_count(tmp_path):
    path = write(tmp_path, "\n" * 50 + "a,b\n1,2\n")
    for delimiter in (",", None):
        assert read_csv(path, delimiter=delimiter)[1].tolist() == [2]


def test_a_delimiter_at_the_end_of_every_line_names_another_target(tmp_path):
    path = write(tmp_path, "a,y,\n1,2,\n3,4,\n")
    with pytest.raises(ValueError, match=r"in column 2 \(2 of 2 are\); name another target"):
        read_csv(path)
    assert read_csv(path, target="y", drop=[2])[1].tolist() == [2, 4]


def test_decimal_commas_between_semicolons_are_refused_either_way(tmp_path):
    path = write(tmp_path, "a;b;y\n1,5;2,5;0\n2;3,5;1\n")
    with pytest.raises(ValueError, match=r"line 3 must have .*delimiter=';' fits|delimiter=';'"):
        read_csv(path)
    for delimiter in (";", None):
        with pytest.raises(
            ValueError, match="line 2 must hold numbers spelled as 1234.5, got '1,5'"
        ):
            read_csv(path, delimiter=delimiter)


HEADERS = {
    "numbers are data": ("1,2\n3,4\n", False),
    "words over numbers": ("a,b\n3,4\n", True),
    "some words over numbers": ("a,2019,y\n3,4,1\n", True),
    "no names": (",y\n5,4\n6,3\n", True),
    "one name missing": ("a,,y\n5,4,1\n6,3,2\n", True),
    "a hole is no name": ("1,?,2\n5,4,1\n", False),
    "years, and no name for the rows": (",1940,1950\n7,1,3\n8,2,4\n", None),
    "a first column with holes": (",1940,1950\n,1,3\n8,2,4\n", False),
    "a mark is no name": ('"1,200",3\n900,2\n', False),
    "words over words": ("color,kind\nred,x\nblue,y\n", True),
    "number over numbers, words over words": ("39,red,0\n40,blue,1\n", None),
    "a word that comes again": ("red,x\nblue,y\nred,z\n", None),
    "words under numbers": ("2019,y\nlow,1\n", False),
}


@pytest.mark.parametrize(("text", "has_header"), HEADERS.values(), ids=HEADERS)
def test_the_first_line_is_a_header_a_row_or_asked_about(text, has_header, tmp_path):
    path = write(tmp_path, text)
    options = {"words": "one-hot", "drop": []}

    def result(header):
        try:
            return [array.tolist() for array in read_csv(path, header=header, **options)]
        except ValueError as error:
            return str(error)

    if has_header is None:
        assert "line 1 must be a header or a row of data" in result(None)
        assert result(True) != result(False)
    else:
        assert result(None) == result(has_header) != result(not has_header)


def test_byte_order_marks_are_no_part_of_a_name(tmp_path):
    for quote, encoding in (("", "utf-8-sig"), ('"', "utf-8-sig"), ("", "utf-16")):
        path = write(tmp_path, f"{quote}a{quote},b\n1,2\n", encoding)
        name = "utf-16" if encoding == "utf-16" else "utf-8"
        X, y = read_csv(path, target="a", encoding=name)
        assert (X.item(), y.item()) == (2, 1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_a_byte_order_mark_makes_no_header_of_numbers(encoding, tmp_path):
    for marks in ("\ufeff", "\ufeff\ufeff"):
        path = write(tmp_path, f"{marks}1,2\n3,4\n", encoding)
        assert read_csv(path, encoding=encoding)[1].tolist() == [2, 4]
    path = write(tmp_path, "1,2\n3,4\n", "utf-8-sig")
    for other in ("latin-1", "cp1252", "ascii", "utf-16"):
        with pytest.raises(ValueError, match="begins as UTF-8 does: say encoding='utf-8'"):
            read_csv(path, encoding=other)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel file"),
        ("a,b\n1,ä\n".encode("latin-1"), "line 2 .*UTF-8, got the byte 0xe4; .*'latin-1'"),
        ("a,b\n1,ä\n".encode("utf-16"), "encoding='utf-16'"),
        ("a,b\n1,ä\n".encode("utf-16-le"), "got NUL; UTF-16"),
        (b"a,b\n1,2\0\n", "line 2 .*got NUL"),
        (b"PK\3\4....", "got a zip archive or an Excel file"),
        (gzip.compress(b"PK\3\4....", mtime=0), "got a zip archive"),
        (b"PAR1....", "a Parquet file"),
        (gzip.compress(b"a,b\n1,2\n" * 999, mtime=0)[:-9], "must be whole"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0)[:12], "must be whole"),
        (b"\x1f\x8b" + b"x" * 30, "must be whole"),
        (b'a,b\n1,"2\n' + b"3,4\n" * 99_000, "line .* must be a text table; field larger"),
        (b"a,b\n1," + b"9" * 140_000, "line 2 must be a text table; field larger"),
    ],
)
def test_what_is_no_text_is_refused_by_name(data, message, tmp_path):
    with pytest.raises(ValueError, match=f"^read_csv: .*data.csv.*{message}") as caught:
        read_csv(write(tmp_path, data))
    assert len(str(caught.value)) < 500


def test_other_encodings_are_read(tmp_path):
    for encoding in ("latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "shift_jis", "UTF8"):
        name = "n" if encoding == "shift_jis" else "Größe"
        path = write(tmp_path, f"{name},y\n1,2\n", encoding)
        assert read_csv(path, target=name, encoding=encoding)[1].item() == 1
    for encoding in ("no-such", "hex", "base64"):
        with pytest.raises(ValueError, match="read_csv: encoding must be"):
            read_csv(path, encoding=encoding)
    with pytest.raises(ValueError, match="must be a text table in ASCII"):
        read_csv(write(tmp_path, "Größe,y\n1,2\n"), encoding="ascii")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this platform")
def test_a_pipe_is_read_once(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    text = gzip.compress(DELIMITED.format(";").encode())
    writer = threading.Thread(target=path.write_bytes, args=(text,))
    writer.start()
    X, _ = read_csv(path, delimiter=None)
    writer.join()
    np.testing.assert_array_equal(X, [[1, 2], [3, 4]])
