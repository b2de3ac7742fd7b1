"""A frame of pandas is read as its file is."""

import numpy as np
import pytest

from fastreg.data import from_frame, read_csv

FRAME = {"a": [1, 2, 3], "word": ["x", "y", "x"], "b": [True, False, True], "y": [0.5, 1.5, 2.5]}


def test_a_frame_is_read_as_its_file_is(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(FRAME).astype({"b": int})
    path = tmp_path / "data.csv"
    frame.to_csv(path, index=False)
    for options in (
        {"drop": ["word"]},
        {"words": "one-hot"},
        {"words": "one-hot", "target": "word"},
    ):
        for one, other in zip(from_frame(frame, **options), read_csv(path, **options), strict=True):
            np.testing.assert_array_equal(one, other, strict=True)


def test_frames_of_every_dtype():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(FRAME)
    holes = frame.astype({"a": "Int64", "b": "boolean", "y": "Float32", "word": "category"})
    holes.iloc[0, 0] = holes.iloc[1, 3] = None
    X, y = from_frame(holes, missing="drop", words="one-hot")
    assert X.tolist() == [[3, 1, 1]] and y.tolist() == [2.5]
    with pytest.raises(ValueError, match=r"frame, row 0 .*missing entry in column 'a' \(1 of 3"):
        from_frame(holes, words="one-hot")
    codes = frame.assign(a=frame["a"].astype("category"))
    assert from_frame(codes, drop=["word", "b"], words="one-hot")[0].tolist() == np.eye(3).tolist()
    exact = frame.assign(y=[2**53 + 1, 2, 3])
    assert from_frame(exact, drop="word")[1].tolist() == [2**53 + 1, 2, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"word": ["x", 1, "y"]}, "got int '1' in column 'word' of dtype object"),
        ({"when": "2020-01-01"}, None),
        ({"a": [1.0, float("inf"), 0.0]}, "finite, got infinity in column 'a'"),
        ({"a": [1j, 2, 3]}, "of dtype complex128"),
        ({"word": [b"x", b"y", b"z"]}, "got bytes .* in column 'word'"),
    ],
)
def test_frames_of_other_things_are_refused(change, message):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(FRAME).assign(**change)
    if message is None:
        frame["when"], message = pandas.to_datetime(frame["when"]), "'when' of dtype datetime64"
    with pytest.raises(ValueError, match=f"from_frame: frame .*{message}"):
        from_frame(frame, target="y", words="one-hot")


def test_strings_of_a_frame_are_read_as_the_entries_of_a_file(tmp_path):
    """As `pandas.read_csv` leaves a column with a thousands mark or a question mark."""
    pandas = pytest.importorskip("pandas")
    for entries in (
        ["1,200", "900"],
        ["x", "7"],
        ["10%", "9%"],
        ["5", "?"],
        ["a", "NA"],
        ["", "b"],
    ):
        for name in ("a", "y"):
            for dtype in (object, "string"):
                frame = pandas.DataFrame({"a": [1, 2], "y": [3, 4]})
                frame[name] = pandas.array(entries, dtype=dtype)
                with pytest.raises(ValueError, match=f"frame, row [01] must .* in column '{name}'"):
                    from_frame(frame, words="one-hot")
    numbers = pandas.DataFrame({"a": ["10", "9", "?"], "y": ["3", "20", "1"]}, dtype=object)
    X, y = from_frame(numbers, missing="drop")
    assert (X.tolist(), y.tolist()) == ([[10], [9]], [3, 20])
    X, _ = from_frame(numbers.astype({"a": "category"}), words="one-hot")
    assert X.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    strings = numbers.assign(a=[np.str_("u"), np.str_("v"), np.str_("u")])
    assert from_frame(strings, words="one-hot")[0].tolist() == [[1, 0], [0, 1], [1, 0]]


def test_a_frame_that_is_none_is_named():
    for other in (None, np.eye(3), [[1, 2]], {"a": [1]}):
        with pytest.raises(TypeError, match="from_frame: frame must be a pandas.DataFrame"):
            from_frame(other)
    pandas = pytest.importorskip("pandas")
    for frame in (pandas.DataFrame({"a": [1]}), pandas.DataFrame({"a": [], "b": []})):
        with pytest.raises(ValueError, match="from_frame: frame must have rows, and features"):
            from_frame(frame)
