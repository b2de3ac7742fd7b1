"""Reading tables, splitting them by class, standardising without a leak."""

import gzip
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreg.data import Standardizer, read_csv, read_idx, read_npz, split

few = settings(derandomize=True, max_examples=40, deadline=None)


@few
@given(st.integers(5, 200), st.integers(1, 5), st.floats(0, 0.4), st.floats(0, 0.4))
def test_parts_are_disjoint_whole_and_fair_to_every_class(n, classes, validation, test):
    X, y = np.arange(n)[:, None], np.arange(n) % classes
    data = split("n", X, y, validation=validation, test=test, standardize=False, rng=0)
    parts = [data.X_train, data.X_val, data.X_test]
    rows = np.concatenate(parts)[:, 0].astype(int)
    assert sorted(rows) == list(range(n))
    for part, labels in zip(parts, (data.y_train, data.y_val, data.y_test), strict=True):
        np.testing.assert_array_equal(y[part[:, 0].astype(int)], labels)
    for labels, share in ((data.y_val, validation), (data.y_test, test)):
        for k in range(classes):
            assert abs((labels == k).sum() - share * (y == k).sum()) < 2.01


def test_a_split_is_a_function_of_its_seed():
    X, y = np.arange(50.0)[:, None], np.arange(50) % 2
    one, again, other = (split("n", X, y, rng=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.X_test, again.X_test)
    assert not np.array_equal(one.X_test, other.X_test)


def test_nothing_but_training_data_is_learnt_from():
    X, y = np.random.default_rng(0).normal(5, 3, size=(60, 4)), np.arange(60) % 2
    data = split("n", X, y, rng=0)
    np.testing.assert_allclose(data.X_train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(data.X_train.std(axis=0), 1, atol=1e-5)
    raw = split("n", X, y, standardize=False, rng=0)
    X[np.isin(X[:, 0].astype(np.float32), raw.X_test[:, 0])] *= 1e6  # test rows only
    again = split("n", X, y, rng=0)
    np.testing.assert_array_equal(again.X_train, data.X_train)
    np.testing.assert_array_equal(again.X_val, data.X_val)


def test_a_constant_feature_becomes_zero():
    X = np.full((5, 1), 0.1)
    np.testing.assert_array_equal(Standardizer(X)(X), np.zeros((5, 1), np.float32))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"validation": 1.0}, ValueError, "validation must be"),
        ({"validation": 0.6, "test": 0.4}, ValueError, "test must be"),
        ({"X": np.array([["a"]] * 4)}, TypeError, "X must be an array of real numbers"),
        ({"y": np.arange(3)}, ValueError, "one row a sample"),
        ({"X": np.zeros((0, 1)), "y": np.zeros(0)}, ValueError, "leave rows for training"),
    ],
)
def test_bad_splits_are_named(arguments, error, message):
    with pytest.raises(error, match=f"split: .*{message}"):
        split(**{"name": "n", "X": np.zeros((4, 1)), "y": np.arange(4), **arguments})


def idx(array, code):
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.tobytes()


@pytest.mark.parametrize(("code", "dtype"), [(8, "u1"), (9, "i1"), (11, ">i2"), (14, ">f8")])
@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_plain_and_gzipped(code, dtype, packed, tmp_path):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    data = idx(array, code)
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(data) if packed else data)
    found = read_idx(path)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype.newbyteorder("=") and found.flags.writeable
    for damaged in (data[:-1], data + b"\0", data[:3], b"\1" + data[1:], b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="read_idx: .* must"):
            read_idx(path)
    path.write_bytes(gzip.compress(data)[:-9])
    with pytest.raises(ValueError, match="must be whole"):
        read_idx(path)


def test_npz_files(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, X=np.eye(3), labels=[0, 1, 2])
    X, y = read_npz(path, y="labels")
    np.testing.assert_array_equal(X, np.eye(3))
    np.testing.assert_array_equal(y, [0, 1, 2])
    with pytest.raises(ValueError, match=r"read_npz: .*it has \['X', 'labels'\], not \['y'\]"):
        read_npz(path)
    np.savez(path, X=np.array([object()]), y=[0])
    with pytest.raises(ValueError, match="read_npz: "):
        read_npz(path)
    for noise in (b"noise", b"PK\3\4noise"):
        path.write_bytes(noise)
        with pytest.raises(ValueError, match="read_npz: "):
            read_npz(path)


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


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_npz_file_is_one_clear_error(save, tmp_path):
    path, pick = tmp_path / "data.npz", random.Random(0)
    save(path, X=np.random.default_rng(0).random((9, 3)), y=np.arange(9))
    data, refused = path.read_bytes(), 0
    for _ in range(500):
        edited = bytearray(data)
        for _ in range(4):
            edited[pick.randrange(len(data))] ^= pick.randrange(1, 256)
        path.write_bytes(edited)
        try:
            read_npz(path)
        except ValueError as error:
            assert str(error).startswith(f"read_npz: {path} must hold"), error
            refused += 1
    assert refused > 400


def test_an_idx_file_of_too_many_axes_is_named(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(bytes([0, 0, 8, 99]) + b"\0\0\0\1" * 99 + b"\1")
    with pytest.raises(ValueError, match="read_idx: .* must be an IDX file"):
        read_idx(path)
