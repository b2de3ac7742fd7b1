"""Text tables: each entry is a number, a word or missing, or refused by its line."""

import gzip
import io
import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import numbers, write

from fastreg.data import read_csv

few = settings(derandomize=True, max_examples=60, deadline=None)

CSV = {
    "words": ("a,b,kind\n1,2,x\n3,4,y\n", {}, [[1, 2], [3, 4]], [0, 1], "int64"),
    "by name": ("kind,a\n1.5,2\n2.5,3\n", {"target": "kind"}, [[2], [3]], [1.5, 2.5], "float64"),
    "no header": ("1,2,0\n3,4,7\n", {}, [[1, 2], [3, 4]], [0, 7], "int64"),
    "first": ("0;1\n\n1;2\n", {"target": 0, "delimiter": ";"}, [[1], [2]], [0, 1], "int64"),
    "spaces": (" a , y \n 1 , u \n 2 , t \n", {"target": "y"}, [[1], [2]], [1, 0], "int64"),
    "beyond int64": ("1,1e300\n2,3\n", {}, [[1], [2]], [1e300, 3], "float64"),
    "words, no header": ("1,cat\n2,ant\n", {}, [[1], [2]], [1, 0], "int64"),
}


@pytest.mark.parametrize(("text", "options", "X", "y", "dtype"), CSV.values(), ids=CSV)
def test_csv_files(text, options, X, y, dtype, tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(text)
    found_X, found_y = read_csv(path, **options)
    np.testing.assert_array_equal(found_X, X)
    np.testing.assert_array_equal(found_y, y)
    assert found_y.dtype == dtype


def test_an_error_lists_ten_columns_and_says_how_many_there_are(tmp_path):
    for width, more in ((10, ""), (11, ", … (11 in all)")):
        names = [f"c{k}" for k in range(width)]
        path = tmp_path / f"{width}.csv"
        path.write_text(",".join(names) + "\n" + ",".join("1" * width) + "\n")
        listed = ", ".join(map(repr, names[:10]))
        with pytest.raises(ValueError, match=re.escape(f"got [{listed}{more}]; correct target")):
            read_csv(path, target="price")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "must have rows"),
        ("a,b\n", {}, "rows below its header"),
        ("a,b\n1,2\n3\n", {}, "line 3 must have 2 entries, got 1"),
        ("a,b\n1,2\nx,2\n", {}, "line 3 must hold numbers"),
        ("a,b\n1,2\n", {"target": "c"}, r"one column 'c', got \['a', 'b'\]"),
        ("a,a\n1,2\n", {"target": "a"}, "one column 'a'"),
        ("1,2\n", {"target": 2}, "a column 2, got 2 columns"),
        ("a,b\n1,1\n2,\n", {}, "line 3 must have a target"),
        ('1,2\n"3\n,4', {}, "must be a text table"),
        ("1," + 200_000 * "9", {}, "must be a text table"),
        ("1,\xe4\udc00", {}, "must be a text table in UTF-8"),
        ('a,"b\nc"\n1,2\nx,3\n', {}, "line 4 must hold numbers"),
    ],
)
def test_bad_csv_files_are_named(text, options, message, tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match=f"read_csv: .*data.csv.*{message}"):
        read_csv(path, **options)


# What only some readers take for a number, in a column of numbers and alone.
NO_NUMBERS = [
    "1,200", "2,5", "1.200.000", "5%", "$5", "5 €", "1 000", "1'000", "1_000", "(5)", "−5", "1.2.3",
    "1\xa0000", "inf", "-Infinity", "１", "２.5", "0x1F", "1d5", "1e", "e5", "+", "--1", "1/2",
    "١٢",
    "R$ 5", "US$5", "₹5", "₽5", "5‰", "–5", "5-", "5\u200b", "=5", '=""5""', "5\u2009000",
    "1e5.0", "5 kg", "x", "True", ".", "1e999", "-1e309", "9" * 400, "nan", "NA", "?", "", "NULL",
]  # fmt: skip


@pytest.mark.parametrize("entry", NO_NUMBERS)
@pytest.mark.parametrize("words", ["refuse", "one-hot"])
@pytest.mark.parametrize("place", [0, 1], ids=["feature", "target"])
def test_what_is_no_number_among_numbers_is_refused_by_its_line(entry, words, place, tmp_path):
    rows = [["1", "100"], ["2", "20"], ["7", "3"]]
    rows[1][place] = f'"{entry}"'
    path = write(tmp_path, "a,price\n" + "".join(",".join(row) + "\n" for row in rows))
    name = ("a", "price")[place]
    with pytest.raises(ValueError, match=f"^read_csv: .*data.csv, line 3 .*column '{name}'"):
        read_csv(path, words=words)


WORDS_TOO = {"0x1F", "1d5", "1e", "e5", "1e5.0", "5 kg", "1/2"}  # if a whole column is such


@pytest.mark.parametrize(
    "entry", [e for e in NO_NUMBERS if any(map(str.isdigit, e)) and e not in WORDS_TOO]
)
def test_a_target_of_marked_numbers_is_no_set_of_classes(entry, tmp_path):
    path = write(tmp_path, "a;price\n" + f"1;{entry}\n" * 3)
    with pytest.raises(ValueError, match="line 2 must hold numbers"):
        read_csv(path, delimiter=";")


CLASSES = [
    "<=50K",
    ">50K",
    "85+",
    "<5",
    "A-",
    "C$",
    "%",
    "18-24",
    "1st",
    "class 3",
    "a-1",
    "2020-01-01",
    "yes, no",
    "ant",
    "1:2",
]


@pytest.mark.parametrize("entry", CLASSES)
def test_words_with_digits_are_words(entry, tmp_path):
    path = write(tmp_path, f'a,kind\n1,"{entry}"\n3,"~"\n2,"{entry}"\n')
    np.testing.assert_array_equal(read_csv(path)[1], [0, 1, 0])


@few
@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=8), st.data())
def test_numbers_are_those_that_pandas_reads(tmp_path_factory, rows, data):
    pandas = pytest.importorskip("pandas")
    delimiter = data.draw(st.sampled_from(",;\t| "))
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    bom = data.draw(st.sampled_from(["", "\ufeff"]))
    lines = [delimiter.join(row) for row in (("a", "b", "c"), *rows)]
    path = write(tmp_path_factory.mktemp("csv"), bom + end.join(lines) + end)
    X, y = read_csv(path, target="c", drop=[], delimiter=delimiter)
    frame = pandas.read_csv(path, sep=delimiter, dtype=str).map(float)
    np.testing.assert_array_equal(X, frame[["a", "b"]].to_numpy(np.float64))
    np.testing.assert_array_equal(y.astype(np.float64), frame["c"].to_numpy(np.float64))


@few
@given(st.lists(st.tuples(*[st.sampled_from(["1", "2.5", "NA", "?", ""])] * 3), min_size=1))
def test_rows_with_a_hole_are_dropped_as_pandas_drops_them(tmp_path_factory, rows):
    pandas = pytest.importorskip("pandas")
    text = "a,b,c\n" + "".join(",".join(row) + "\n" for row in rows)
    path = write(tmp_path_factory.mktemp("csv"), text)
    frame = pandas.read_csv(io.StringIO(text), na_values=["?"]).dropna()
    if not len(frame):
        with pytest.raises(ValueError, match=r"row without missing entries.*drop=\[...\]"):
            read_csv(path, missing="drop")
        return
    X, y = read_csv(path, missing="drop")
    np.testing.assert_array_equal(X, frame[["a", "b"]].to_numpy(float))
    np.testing.assert_array_equal(y, frame["c"].to_numpy(float))


@few
@given(st.lists(st.tuples(st.sampled_from(["red", "blue", "Ä", "a b"]), st.integers(0, 9))))
def test_one_hot_is_scikit_learns(tmp_path_factory, rows):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    rows = [("red", 3), *rows]
    text = "size,color,y\n" + "".join(f"{n},{word},0\n" for word, n in rows)
    path = write(tmp_path_factory.mktemp("csv"), text)
    X, _ = read_csv(path, words="one-hot")
    encoder = preprocessing.OneHotEncoder(sparse_output=False)
    np.testing.assert_array_equal(X[:, 1:], encoder.fit_transform([[word] for word, _ in rows]))
    np.testing.assert_array_equal(X[:, 0], [n for _, n in rows])


def test_a_column_of_names_is_no_set_of_classes(tmp_path):
    for n, options, label in ((60, {}, "kind"), (60, {"target": 1, "words": "one-hot"}, "kind")):
        text = "kind,size\n" + "".join(f"name {i},{i % 7}\n" for i in range(n))
        path = write(tmp_path, text)
        with pytest.raises(ValueError, match=f"at most 30 different words .* got 60 .*{label}"):
            read_csv(path, **{"target": 0, **options})
    path = write(tmp_path, "kind,y\n" + "".join(f"w{i // 3},0\n" for i in range(6000)))
    with pytest.raises(ValueError, match="at most 1000 different words .*drop="):
        read_csv(path, words="one-hot")


def test_integers_are_exact(tmp_path):
    path = write(tmp_path, f"1,{2**53 + 1}\n2,{2**53}\n3,{-(2**62)}\n")
    y = read_csv(path)[1]
    assert y.dtype == np.int64 and y.tolist() == [2**53 + 1, 2**53, -(2**62)]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"delimiter": ""}, ValueError, "delimiter must be one character"),
        ({"delimiter": "  "}, ValueError, "delimiter must be one character"),
        ({"delimiter": "1"}, ValueError, "delimiter must be one character"),
        ({"delimiter": '"'}, ValueError, "delimiter must be one character"),
        ({"delimiter": "\n"}, ValueError, "delimiter must be one character"),
        ({"delimiter": "."}, ValueError, "delimiter must be one character"),
        ({"delimiter": 44}, TypeError, "delimiter must be a str"),
        ({"delimiter": b","}, TypeError, "delimiter must be a str"),
        ({"target": 1.0}, TypeError, "target must be the name of a column or its place"),
        ({"target": None}, TypeError, "target must be"),
        ({"target": True}, TypeError, "target must be"),
        ({"target": np.True_}, TypeError, "target must be"),
        ({"target": b"b"}, TypeError, "target must be"),
        ({"target": [1]}, TypeError, "target must be"),
        ({"target": 2}, ValueError, "must have a column 2, got 2 columns; correct target"),
        ({"target": -3}, ValueError, "must have a column -3"),
        ({"drop": ["c"]}, ValueError, r"one column 'c', got \['a', 'b'\]; correct drop"),
        ({"drop": [5]}, ValueError, "a column 5, got 2 columns; correct drop"),
        ({"drop": [None]}, TypeError, "drop must be the name"),
        ({"drop": True}, TypeError, "drop must be the name"),
        ({"drop": ["b"]}, ValueError, "must keep its target"),
        ({"drop": "a"}, ValueError, "must have features beside its target, got drop with all"),
        ({"header": 1}, TypeError, "header must be True or False"),
        ({"missing": "mean"}, ValueError, "missing must be one of"),
        ({"missing": None}, TypeError, "missing must be one of"),
        ({"words": "drop"}, ValueError, "words must be one of"),
        ({"encoding": None}, TypeError, "encoding must be a str"),
        ({"path": 0}, TypeError, "path must be a str or a path, got 0"),
        ({"path": True}, TypeError, "path must be a str or a path, got True"),
        ({"path": None}, TypeError, "path must be a str or a path, got None"),
        ({"path": "a\0b"}, ValueError, "path must be the name of a file"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(options, error, message, tmp_path):
    with pytest.raises(error, match=f"^read_csv: .*{message}"):
        read_csv(**{"path": write(tmp_path, "a,b\n1,2\n"), **options})


def test_columns_are_left_out_by_name_or_place(tmp_path):
    path = write(tmp_path, "name,a,y,note\nAnn,1,0,\nBob,2,1,?\n")
    for drop in (["name", "note"], [0, -1], (" name", 3), iter([0, "note"]), {"name", "note"}):
        X, y = read_csv(path, target="y", drop=drop)
        assert X.tolist() == [[1], [2]] and y.tolist() == [0, 1]
    path = write(tmp_path, "Ann,1,0\nBob,2,1\n")
    assert read_csv(path, drop=0, header=False)[0].tolist() == [[1], [2]]


@pytest.mark.parametrize("name", ["", "id", "ID", "index", "Unnamed: 0", "rownames"])
@pytest.mark.parametrize("first", [0, 1])
def test_the_number_of_the_row_is_no_feature_unless_asked_for(name, first, tmp_path):
    text = f'"{name}",a,y\n' + "".join(f"{i + first},{i * i},{i % 2}\n" for i in range(4))
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=r"number of the row.*drop=\[.+\].*drop=\[\]"):
        read_csv(path)
    assert read_csv(path, drop=[])[0].shape == (4, 2)
    assert read_csv(path, drop=[0])[0].tolist() == [[0], [1], [4], [9]]
    headless = "".join(f"{i + first},{i * i},{i % 2}\n" for i in range(12))
    with pytest.raises(ValueError, match="number of the row"):
        read_csv(write(tmp_path, headless))
    assert read_csv(write(tmp_path, text.replace('""', "a").replace(name or "~", "a")))


def test_a_name_that_two_columns_have_is_given_by_place(tmp_path):
    path = write(tmp_path, "a,b,b\n1,2,3\n")
    with pytest.raises(ValueError, match=r"one column 'b', got 2; give target a place.*\[1, 2\]"):
        read_csv(path, target="b")
    assert read_csv(path, target=1)[1].item() == 2


def test_errors_repeat_little_of_a_large_file(tmp_path):
    long = "x" * 100_000
    wide = ",".join(f"{long[:200]}{i}" for i in range(1000))
    for text, options in (
        (f"a,b\n1,2\n{long},2\n", {}),
        (f"a,b\n1,2\n1,{long}\n", {}),
        (f"{long},b\nx,2\n", {}),
        (f"{wide}\n{wide}\n", {"target": "price"}),
        ("a,b\n1,2\n", {"target": long}),
        ("a,b\n1,2\n", {"delimiter": long}),
        ("a,b\n1,2\n1," + "9" * 100_000 + "\n", {}),
    ):
        with pytest.raises(ValueError, match="read_csv: ") as caught:
            read_csv(write(tmp_path, text), **options)
        assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("filler", [b"\0", b"1", b"1,", b'"'])
def test_a_gzip_bomb_is_refused_in_bounded_memory(filler, tmp_path):
    path = tmp_path / "bomb.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(30):
            file.write(filler * (10_000_000 // len(filler)))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="read_csv: .*bomb.csv.gz"):
            read_csv(path)
        assert tracemalloc.get_traced_memory()[1] < 1e9
    finally:
        tracemalloc.stop()
