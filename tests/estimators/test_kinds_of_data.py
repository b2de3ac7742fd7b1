"""Kinds of data: labels of every type, frames, sparse matrices, memory maps, lists."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse
import sklearn.neural_network
from sklearn.datasets import load_iris, make_multilabel_classification, make_regression
from sklearn.exceptions import NotFittedError

from fastreg.sklearn import MLPClassifier, MLPRegressor
from fastreg.sklearn.rows import CHUNK, WHOLE, Rows, as_rows, fits_float32

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y = load_iris(return_X_y=True)
HOW = {"hidden_layer_sizes": (8,), "random_state": 0, "max_iter": 40, "learning_rate_init": 0.02}

LABELS = {
    "str": np.array(["setosa", "versicolor", "virginica"]),
    "object": np.array(["a", "b", "c"], object),
    "float": np.array([-1.0, 2.0, 3.0]),  # with fractions they would be numbers to predict
    "integer": np.array([-7, 100, 2**40]),
    "unsigned": np.array([0, 7, 255], np.uint8),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_every_type(kind):
    labels = LABELS[kind]
    y = labels[Y]
    how = HOW | {"max_iter": 150, "tol": 0}
    model = MLPClassifier(**how).fit(X, y)
    their = sklearn.neural_network.MLPClassifier(max_iter=1).fit(X, y)
    assert model.predict(X).dtype == model.classes_.dtype == their.predict(X).dtype
    assert (model.predict(X) == y).mean() > 0.9
    np.testing.assert_array_equal(model.classes_, np.unique(labels))
    plain = MLPClassifier(**how).fit(X, Y)
    np.testing.assert_array_equal(model.predict_proba(X), plain.predict_proba(X))
    two = MLPClassifier(**how).fit(X[:100], y[:100])
    assert (two.predict(X[:100]) == y[:100]).mean() > 0.9


def test_truth_values_are_classes():
    model = MLPClassifier(**HOW).fit(X, Y == 0)
    assert model.predict(X).dtype == bool
    assert (model.predict(X) == (Y == 0)).mean() > 0.9


def test_one_class_alone():
    model = MLPClassifier(**HOW).fit(X, np.full(150, "only"))
    assert set(model.predict(X)) == {"only"}


@pytest.mark.parametrize("sparse", [False, True])
def test_multilabel(sparse):
    data, labels = make_multilabel_classification(200, 10, n_classes=4, random_state=0)
    given = scipy.sparse.csr_matrix(labels) if sparse else labels
    model = MLPClassifier(**(HOW | {"max_iter": 400, "tol": 0})).fit(data, given)
    found = model.predict(data)
    assert scipy.sparse.issparse(found) == sparse
    found = found.toarray() if sparse else found
    assert (found == labels).mean() > 0.75
    assert model.predict_proba(data).shape == (200, 4)
    np.testing.assert_array_equal(found, model.predict_proba(data) > 0.5)
    assert model.out_activation_ == "logistic"


def test_several_outputs():
    data, y = make_regression(200, 5, n_targets=3, random_state=0)
    model = MLPRegressor(**(HOW | {"max_iter": 300})).fit(data, y / 50)
    assert model.predict(data).shape == (200, 3)
    assert model.score(data, y / 50) > 0.9
    column = MLPRegressor(**HOW)
    with pytest.warns(Warning, match="column-vector"):
        column.fit(data, y[:, :1])
    assert column.predict(data).shape == (200,)


def test_lists_are_data():
    model = MLPClassifier(**HOW).fit(X.tolist(), Y.tolist())
    plain = MLPClassifier(**HOW).fit(X, Y)
    np.testing.assert_array_equal(model.predict_proba(X.tolist()), plain.predict_proba(X))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames(library):
    frames = pytest.importorskip(library)
    names = ["a", "b", "c", "d"]
    frame = frames.DataFrame({name: X[:, i] for i, name in enumerate(names)})
    y = frames.Series(np.array(["x", "y", "z"])[Y])
    model = MLPClassifier(**HOW).fit(frame, y, X_val=frame, y_val=y)
    assert list(model.feature_names_in_) == names
    plain = MLPClassifier(**HOW).fit(X, Y)
    np.testing.assert_array_equal(model.predict(frame), model.classes_[plain.predict(X)])
    with pytest.warns(UserWarning, match="valid feature names"):
        model.predict(X)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={"a": "e"}) if library == "pandas"
                      else frame.rename({"a": "e"}))  # fmt: skip


@pytest.mark.filterwarnings("error::UserWarning")
def test_scorers_of_frames_do_not_warn():
    frames = pytest.importorskip("pandas")
    frame = frames.DataFrame(X, columns=list("abcd"))
    MLPClassifier(**HOW, early_stopping=True, scoring="f1_macro").fit(frame, Y)


# --- sparse matrices and memory maps -------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("form", ["csr_matrix", "csr_array", "csc_matrix", "csc_array"])
def test_sparse_data_train_as_dense_do(form, solver):
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((300, 20)) * (rng.random((300, 20)) < 0.1)
    y = dense.sum(axis=1)
    how = HOW | {"solver": solver, "max_iter": 10}
    sparse = getattr(scipy.sparse, form)(dense)
    one, two = MLPRegressor(**how).fit(sparse, y), MLPRegressor(**how).fit(dense, y)
    for a, b in zip(one.coefs_, two.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(one.predict(sparse), two.predict(dense))
    kept = MLPRegressor(**how, early_stopping=True).fit(sparse, y)
    np.testing.assert_array_equal(
        kept.predict(dense), MLPRegressor(**how, early_stopping=True).fit(dense, y).predict(dense)
    )


def peak(call):
    """The most bytes that a call had allocated at once."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_sparse_data_are_made_dense_a_batch_at_a_time(solver):
    n, m = 20_000, 400
    data = scipy.sparse.random(n, m, 0.005, format="csr", random_state=0)
    y = np.arange(n) % 2
    model = MLPClassifier((4,), solver=solver, max_iter=1, random_state=0)
    most = peak(lambda: model.fit(data, y).predict(data))
    assert most < n * m * 8 / 4


MAPS = {"as it is": "f8", "floats": "f4", "bytes": "u1", "swapped": ">f8", "half": "f2"}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", MAPS)
def test_memory_maps_are_never_copied_whole(tmp_path, kind, order):
    n, m = 24_000, 300
    rng = np.random.default_rng(0)
    values = rng.integers(0, 200, (n, m)).astype(MAPS[kind])
    data = np.memmap(tmp_path / "X", values.dtype, "w+", shape=(n, m), order=order)
    data[:] = values
    data.flush()
    data = np.memmap(tmp_path / "X", values.dtype, "r", shape=(n, m), order=order)
    y = np.arange(n) % 3
    for more in ({}, {"early_stopping": True}, {"dtype": "float32"}):
        model = MLPClassifier((4,), max_iter=1, random_state=0, **more)
        most = peak(lambda model=model: model.fit(data, y).predict(data))
        assert most < n * m * 8 / 4, more
        whole = np.asarray(values, values.dtype.newbyteorder("="))
        if kind == "half":
            whole = whole.astype("f8")
        plain = MLPClassifier((4,), max_iter=1, random_state=0, **more).fit(whole, y)
        np.testing.assert_array_equal(model.predict(data), plain.predict(whole))
    with pytest.raises(ValueError, match="NaN"):
        bad = np.memmap(tmp_path / "bad", "f8", "w+", shape=(5, 2))
        bad[3, 1] = np.nan
        MLPClassifier().fit(bad, y[:5])


def test_prediction_keeps_nothing_of_the_data():
    big = np.zeros((3 * WHOLE, 4))
    model = MLPClassifier(**HOW).fit(X, Y)
    model.predict(big)
    layer = model._network_of().layers[0]
    assert not np.shares_memory(layer._last, big)


def test_rows_are_those_asked_for():
    data = np.arange(60.0).reshape(20, 3)
    picked = np.array([5, 2, 19])
    for given in (data, np.asfortranarray(data), data.astype("i4"), scipy.sparse.csr_array(data)):
        rows = Rows(given, np.float32)
        np.testing.assert_array_equal(rows.take(picked), data[picked])
        np.testing.assert_array_equal(rows.take(slice(3, 9)), data[3:9])
        some = rows.only(picked)
        assert len(some) == 3
        np.testing.assert_array_equal(some.take(np.array([1, 0])), data[[2, 5]])
        np.testing.assert_array_equal(some.only(np.array([2])).take(slice(0, 1)), data[[19]])
    np.testing.assert_array_equal(np.concatenate(list(as_rows(data, "f8").chunks())), data)


def test_what_float32_holds():
    assert fits_float32(np.array([[0.5, 2.0**24]]))
    assert not fits_float32(np.array([[2.0**24 + 1]]))
    assert not fits_float32(np.array([[0.1]]))
    assert not fits_float32(np.array([[1e300]]))
    assert fits_float32(scipy.sparse.csr_matrix([[0.0, 3.0]]))
    late = np.zeros((CHUNK + 1, 2))
    late[-1, -1] = 0.1
    assert not fits_float32(late)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba"])
def test_methods_say_as_scikit_learn_does_what_is_wrong(method):
    with pytest.raises(NotFittedError):
        getattr(MLPClassifier(), method)(X)
    call = getattr(MLPClassifier(**HOW).fit(X, Y), method)
    for bad, words in ((X[:, :2], "features"), (X[0], "2D"), (np.where(X > 7, np.nan, X), "NaN"),
                       (X[:0], "minimum of 1"), ([["a"] * 4], "convert")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            call(bad)
    np.testing.assert_array_equal(call(X[:1].astype("i4")), call(X[:1].astype("i4").tolist()))
    np.testing.assert_allclose(call(X[:1].astype("f4")), call(X[:1]), rtol=1e-4)
