"""Reading tables, splitting them by class, standardising without a leak."""

import harness
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreg.data import Standardizer, split

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
    "scale", [2.0**k for k in (-1040, -1000, -600, -150, 0, 150, 600, 1000, 1020)]
)
def test_features_of_any_magnitude_are_standardised(scale):
    Z = np.random.default_rng(1).normal(size=(50, 3)) * [1, 1, 0] + [0, 3, 3]
    expected = Standardizer(Z)(Z)
    assert expected.std() > 0.5
    X = Z * scale
    with np.errstate(all="raise"):
        found = Standardizer(X)(X)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-3 * (scale < 1e-308))


def test_features_as_wide_as_float64_are_standardised():
    wide = np.array([[-1.7e308, 1.0, 1.0], [1.7e308, 1.0 + 2.0**-51, 1e-320]])
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(Standardizer(wide)(wide), [[-1, -1, 1], [1, 1, -1]])


def test_features_beyond_float32_are_refused_where_they_are_not_standardised():
    X = np.array([[1.0, 2.0], [1.0, 1e39], [3.0, 4.0]])
    with pytest.raises(ValueError, match="split: X must be finite, got inf in column 1, .*row 1"):
        split("n", X, [0, 1, 0], standardize=False)


def test_words_of_a_series_are_targets():
    pandas = pytest.importorskip("pandas")
    words = ["a", "b"] * 5
    for dtype in (object, "string", "category"):
        y = pandas.Series(words, dtype=dtype)
        found = split("n", np.zeros((10, 1)), y, rng=0)
        np.testing.assert_array_equal(found.y_test, ["a", "b"])
        assert found.y_test.dtype.kind == "U"
    for bad in ([*words[1:], None], [*words[1:], 1]):
        with pytest.raises(TypeError, match="split: y must be a vector of numbers or words"):
            split("n", np.zeros((10, 1)), pandas.Series(bad, dtype=object), rng=0)


def test_a_frame_of_several_kinds_is_refused_in_one_line():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    with pytest.raises(TypeError, match=r"got DataFrame with shape \(2, 2\); fill") as caught:
        split("n", frame, [0, 1])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"validation": 1.0}, ValueError, "validation must be"),
        ({"validation": 0.6, "test": 0.4}, ValueError, "test must be"),
        ({"X": np.array([["a"]] * 4)}, TypeError, "X must be an array of real numbers"),
        ({"y": np.arange(3)}, ValueError, "one row per sample"),
        ({"X": np.zeros((0, 1)), "y": np.zeros(0)}, ValueError, "leave rows for training"),
    ],
)
def test_bad_splits_are_named(arguments, error, message):
    with pytest.raises(error, match=f"split: .*{message}"):
        split(**{"name": "n", "X": np.zeros((4, 1)), "y": np.arange(4), **arguments})


BAD = {
    "nan": (
        lambda X: X.__setitem__((3, 1), np.nan),
        "got nan in column 1, first in row 3 and 1 in",
    ),
    "inf": (lambda X: X.__setitem__((slice(2, 5), 0), -np.inf), "got -inf in column 0.*2 and 3 in"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD.values(), ids=BAD)
def test_what_is_not_finite_is_named_by_its_column(spoil, message):
    X = np.arange(40.0).reshape(20, 2)
    spoil(X)
    for where, call in (
        ("split", lambda X: split("n", X, np.arange(20) % 2, rng=0)),
        ("split", lambda X: split("n", X, np.arange(20) % 2, rng=0, standardize=False)),
        ("Standardizer", Standardizer),
        ("Standardizer", Standardizer(np.ones((2, 2)))),
    ):
        with pytest.raises(ValueError, match=f"^{where}: X must be finite, {message}"):
            call(X)
    with pytest.raises(ValueError, match=r"^split: X must be finite, got .* in column \(0, [01]\)"):
        split("n", X[:, None], np.arange(20))


def test_a_column_of_a_frame_is_named_by_its_name():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"size": [1.0, 2.0], "age": [3.0, None]})
    with pytest.raises(ValueError, match="got nan in column 'age', first in row 1"):
        split("n", frame, [0, 1])


def odd(y):
    return {"y": y}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (odd(None), TypeError, "y must be a vector of numbers or words, got None"),
        (odd(3.0), ValueError, r"y of shape \(\)"),
        (odd(np.zeros((4, 1))), ValueError, r"y of shape \(4, 1\); pass y.ravel\(\)"),
        (odd(np.zeros((4, 2))), ValueError, r"y of shape \(4, 2\)$"),
        (odd([[1], [2], [3], [4]]), ValueError, "pass y.ravel"),
        (odd([0.0, np.nan, 0.0, 1.0]), ValueError, "y must be finite, got nan in row 1"),
        (odd([0.0, 1.0, 0.0, np.inf]), ValueError, "y must be finite, got inf in row 3"),
        (odd([0, None, 1, 0]), TypeError, "y must be a vector of numbers or words"),
        (odd([0j] * 4), TypeError, "y must be a vector of numbers or words"),
        (odd(np.ma.array([0, 1, 0, 1], mask=[0, 1, 0, 0])), TypeError, "filled"),
        ({"X": None}, TypeError, "X must be an array of real numbers"),
        ({"X": 1.0}, ValueError, r"X must have one row per sample, got shape \(\)"),
        ({"X": np.zeros(4)}, ValueError, r"X\[:, None\]"),
        ({"X": [[1, 2], [3]]}, TypeError, "X must be an array of real numbers"),
        ({"X": np.ma.array(np.zeros((4, 1)), mask=True)}, TypeError, "filled"),
        ({"standardize": 1}, TypeError, "standardize must be True or False"),
        ({"validation": None}, TypeError, "validation must be"),
        ({"test": np.nan}, ValueError, "test must be"),
        ({"rng": -1}, ValueError, "rng must be"),
        ({"rng": "7"}, TypeError, "rng must be"),
    ],
    ids=str,
)
def test_bad_arguments_of_split_are_named(arguments, error, message):
    with pytest.raises(error, match=f"^split: .*{message}"):
        split(**{"name": "n", "X": np.zeros((4, 1)), "y": np.arange(4), **arguments})


@pytest.mark.parametrize(
    ("X", "error"),
    [
        (1.0, ValueError),
        (None, TypeError),
        ([], ValueError),
        ([1.0, 2.0], ValueError),
        (np.zeros((0, 2)), ValueError),
        ([["1", "2"]], TypeError),
        ([[1j]], TypeError),
    ],
)
def test_bad_tables_of_a_standardizer_are_named(X, error):
    with pytest.raises(error, match="^Standardizer: X must"):
        Standardizer(X)
    if len(np.atleast_1d(X)):  # it may be asked for no rows
        with pytest.raises(error, match="^Standardizer: X must"):
            Standardizer(np.ones((2, 3)))(X)
    with pytest.raises(ValueError, match=r"rows of shape \(3,\), got \(1,\)"):
        Standardizer(np.ones((2, 3)))(np.ones((2, 1)))


@pytest.mark.parametrize("rows", [1, 7, 5000])
def test_statistics_have_the_same_bits_for_every_layout_level_and_thread_count(
    rows, level, threads, fixed_rng
):
    """NumPy sums a table by rows and its transpose by columns, in other orders."""
    X = fixed_rng.normal(size=(rows, 5)) * 1e3 ** fixed_rng.uniform(-1, 1, 5) + 100.0
    with harness.serial_base():
        expected = Standardizer(X)
    for same in (X, np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2]):
        found = Standardizer(same)
        harness.same_bits(found.mean, expected.mean)
        harness.same_bits(found.scale, expected.scale)
    np.testing.assert_allclose(found.mean, X.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(found.scale, np.where(rows > 1, X.std(axis=0), 1.0), rtol=1e-12)


def test_a_standardizer_is_scikit_learns():
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    X = np.random.default_rng(0).normal(3, [1, 10, 0], size=(40, 3))
    expected = preprocessing.StandardScaler().fit(X[:30]).transform(X)
    np.testing.assert_allclose(Standardizer(X[:30])(X), expected, rtol=1e-6, atol=1e-7)
