"""Early stopping keeps the best weights and gives them back."""

import numpy as np
import pytest

from fastreg.stopping import EarlyStopping


def tree():
    return {
        "W": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "layers": [np.ones(3, np.float32), (np.zeros(2), np.full((1, 1), 2.0))],
        "b": 0.5,
        "scale": np.float32(2),
        "none": None,
    }


def test_best_weights_survive_in_place_updates_and_come_back_in_place():
    live, stopping = tree(), EarlyStopping(patience=5)
    stopping(1.0, live)
    arrays = [live["W"], live["layers"][0], *live["layers"][1]]
    for array in arrays:
        assert not any(
            np.shares_memory(array, kept)
            for kept in (stopping.best_weights["W"], *stopping.best_weights["layers"][1])
        )
        array += 100.0
    live["b"], live["scale"] = 9.0, np.float32(9)
    stopping(2.0, live)
    np.testing.assert_equal(stopping.best_weights, tree())
    assert stopping.restore(live) is live
    np.testing.assert_equal(live, tree())
    again = [live["W"], live["layers"][0], *live["layers"][1]]
    assert all(before is after for before, after in zip(arrays, again, strict=True))
    live["W"] += 1.0
    np.testing.assert_equal(stopping.best_weights, tree())


def test_views_single_arrays_and_switching_off():
    base, stopping = np.arange(10.0), EarlyStopping()
    stopping(1.0, base[::2])
    base[:] = -1.0
    assert stopping.best_weights.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]
    stopping.restore(base[::2])
    assert base.tolist() == [0, -1, 2, -1, 4, -1, 6, -1, 8, -1]
    stopping(0.5)  # a better epoch whose weights were not given: the old ones are not the best
    assert stopping.best_weights is None
    off = EarlyStopping(restore_best=False)
    off(1.0, base)
    assert off.best_weights is None
    with pytest.raises(RuntimeError, match="no best weights"):
        off.restore(base)


def test_a_dicts_values_and_generators_are_lists():
    params, stopping = {"W": np.zeros(2), "b": np.ones(1)}, EarlyStopping()
    stopping(1.0, params.values())
    stopping(0.5, (array for array in params.values()))
    params["W"] += 1.0
    assert [array.tolist() for array in stopping.best_weights] == [[0.0, 0.0], [1.0]]
    stopping.restore(params.values())
    assert params["W"].tolist() == [0.0, 0.0]


def _frozen(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda w: w.pop("b"), ValueError, "must have the names"),
        (lambda w: w.update(extra=1.0), ValueError, "must have the names"),
        (lambda w: w.update(b=np.zeros(1)), TypeError, r"weights\['b'\] must be float"),
        (lambda w: w.update(b="x"), TypeError, r"weights\['b'\] must be float"),
        (lambda w: w["layers"].append(1), ValueError, r"weights\['layers'\] must have 2 entries"),
        (lambda w: w.update(layers={}), TypeError, r"weights\['layers'\] must be a list"),
        (lambda w: w["layers"].__setitem__(0, np.ones(4, np.float32)), ValueError, "shape"),
        (lambda w: w["layers"].__setitem__(0, np.ones((1, 3), np.float32)), ValueError, "shape"),
        (lambda w: w["layers"].__setitem__(0, np.ones(3)), TypeError, "array of float32"),
        (lambda w: w["layers"].__setitem__(0, [1, 1, 1]), TypeError, "array of float32"),
        (lambda w: _frozen(w["layers"][1][1]), ValueError, "read-only"),
    ],
)
def test_restore_writes_all_or_nothing(change, error, words):
    stopping = EarlyStopping()
    stopping(1.0, tree())
    live = tree()
    live["W"] += 7.0
    live["b"] = 7.0
    change(live)
    with pytest.raises(error, match=words):
        stopping.restore(live)
    assert live["W"].tolist() == (tree()["W"] + 7.0).tolist()


def test_a_number_that_nothing_holds_cannot_be_restored():
    stopping = EarlyStopping()
    stopping(1.0, (np.zeros(2), 0.5))
    with pytest.raises(TypeError, match="cannot be replaced"):
        stopping.restore((np.zeros(2), 0.7))
    with pytest.raises(TypeError, match="must be a list"):
        stopping.restore({"a": 1})
    keyed = EarlyStopping()
    keyed(1.0, {"a": np.zeros(2)})
    with pytest.raises(TypeError, match="must be a dict"):
        keyed.restore([np.zeros(2)])


class Model:
    """Anything may be watched; only arrays and numbers can be written back."""

    def __init__(self):
        self.W = np.zeros(2)


def test_a_whole_model_is_copied_but_cannot_be_restored():
    model, stopping = Model(), EarlyStopping()
    stopping(1.0, [model])
    model.W += 1.0
    assert stopping.best_weights[0].W.tolist() == [0.0, 0.0]
    with pytest.raises(TypeError, match=r"weights\[0\] must be a NumPy array or a number.*Model"):
        stopping.restore([model])
