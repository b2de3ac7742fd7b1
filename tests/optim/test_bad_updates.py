"""Updates that are refused: the exception, what its message names, and nothing written."""

import copy

import numpy as np
import pytest
from refusals import SWAPPED, frozen

from fastreg import (
    Adam,
)

#: Stand for a SciPy matrix, torch's tensor and pandas' column.
SPARSE, TENSOR, SERIES = (
    type(kind, (), {method: None, "__repr__": lambda self: "foreign"})()
    for kind, method in (("Sparse", "toarray"), ("Tensor", "detach"), ("Series", "to_numpy"))
)
BASE = np.arange(24.0)
# (params, grads, exception, what the message names); each beside a good tensor "ok".
UPDATES = [
    ({"w": np.ones(3)}, {"w": np.ones(3, np.float32)}, TypeError, r"grads\['w'\].*64.*float32"),
    ({"w": np.ones(3)}, {"w": np.ones(4)}, ValueError, r"grads\['w'\].*\(3,\).*\(4,\)"),
    ({"w": np.ones(3)}, {"w": np.ones((3, 1))}, ValueError, r"grads\['w'\].*\(3,\).*\(3, 1\)"),
    ({"w": np.ones(3)}, {"w": np.ones(3, np.float16)}, TypeError, r"grads\['w'\].*float16"),
    ({"w": np.ones(3)}, {"w": np.ones(3, np.longdouble)}, TypeError, r"grads\['w'\].*float"),
    ({"w": np.ones(3)}, {"w": np.ones(3, complex)}, TypeError, r"grads\['w'\].*complex128"),
    ({"w": np.ones(3)}, {"w": np.ones(3, object)}, TypeError, r"grads\['w'\].*object"),
    ({"w": np.ones(3)}, {"w": ["1", "2", "3"]}, TypeError, r"grads\['w'\] must hold real numbers"),
    ({"w": np.ones(3)}, {"w": [[1.0], [2.0, 3.0]]}, TypeError, r"grads\['w'\] must hold"),
    ({"w": np.ones(3)}, {"w": [1.0, None, 3.0]}, TypeError, r"grads\['w'\] must hold"),
    ({"w": np.ones(3)}, {"w": 10**400}, TypeError, r"grads\['w'\] must hold real numbers"),
    ({"w": np.ones(3)}, {"w": 1j}, TypeError, r"grads\['w'\].*complex"),
    ({"w": np.ones(3)}, {"w": [1.0, 2.0]}, ValueError, r"grads\['w'\].*\(3,\).*\(2,\)"),
    ({"w": np.ones(3)}, {"w": np.array(1.0)}, ValueError, r"grads\['w'\].*\(3,\).*\(\)"),
    ({"w": np.ones(3)}, {"w": np.ma.ones(3)}, TypeError, r"grads\['w'\].*Masked.*filled"),
    ({"w": np.ones(3)}, {"w": np.ma.ones(3, int)}, TypeError, r"grads\['w'\].*Masked.*filled"),
    ({"w": np.ma.ones(3)}, {"w": np.ones(3)}, TypeError, r"params\['w'\].*Masked.*filled"),
    ({"w": np.ones(3)}, {"w": SPARSE}, TypeError, r"grads\['w'\].*Sparse.*toarray\(\)"),
    ({"w": np.ones(3)}, {"w": TENSOR}, TypeError, r"grads\['w'\].*Tensor.*detach\(\)"),
    ({"w": np.ones(3)}, {"w": SERIES}, TypeError, r"grads\['w'\].*Series.*to_numpy"),
    ({"w": np.ones(3)}, {}, ValueError, r"missing \['w'\]"),
    ({"w": np.ones(3)}, {"v": np.ones(3)}, ValueError, r"missing \['w'\].*not in params \['v'\]"),
    ({"w": np.ones(3, int)}, {"w": np.ones(3, int)}, TypeError, r"params\['w'\].*int64"),
    ({"w": np.ones(3, ">f2")}, {"w": np.ones(3, ">f2")}, TypeError, r"params\['w'\].*16"),
    ({"w": np.ones(3, SWAPPED)}, {"w": np.ones(3, SWAPPED)}, TypeError, r"params\['w'\].*native"),
    ({"w": [1.0]}, {"w": [1.0]}, TypeError, r"params\['w'\].*list"),
    ({"w": "x"}, {"w": 1.0}, TypeError, r"params\['w'\].*str"),
    ({"w": True}, {"w": 1.0}, TypeError, r"params\['w'\].*bool"),
    ({"w": 1.0}, {"w": "x"}, TypeError, r"grads\['w'\].*str"),
    ({"w": np.float32(1)}, {"w": np.float64(1)}, TypeError, r"grads\['w'\]"),
    ({"w": frozen(np.ones(3))}, {"w": np.ones(3)}, ValueError, r"params\['w'\].*read-only"),
    ({"w": BASE[::2]}, {"w": np.ones(12)}, ValueError, r"params\['w'\].*contiguous.*strides"),
    ({"w": BASE.reshape(2, 3, 4)[..., 0]}, {"w": np.ones((2, 3))}, ValueError, "any order of its"),
    ({"w": BASE[::-1]}, {"w": np.ones(24)}, ValueError, r"params\['w'\].*contiguous"),
    ({"w": np.broadcast_to(1.0, 3)}, {"w": np.ones(3)}, ValueError, r"params\['w'\]"),
    ({"a": BASE[:5], "b": BASE[4:9]}, {"a": BASE[9:14], "b": BASE[9:14]}, ValueError, "memory"),
    ({"a": BASE, "b": BASE}, {"a": BASE, "b": BASE}, ValueError, "'a'.*'b'.*share memory"),
]  # fmt: skip


@pytest.mark.parametrize("warm", [False, True], ids=["first step", "later step"])
@pytest.mark.parametrize(("params", "grads", "error", "message"), UPDATES)
def test_refused_updates_change_nothing(params, grads, error, message, warm):
    optimizer = Adam()
    params, grads = {"ok": np.ones(2), **params}, {"ok": np.ones(2), **grads}
    if warm:
        optimizer.update({"ok": params["ok"]}, {"ok": grads["ok"]})
    before = copy.deepcopy((params, grads, dict(optimizer.m), dict(optimizer.v), optimizer.t))
    with pytest.raises(error, match=f"Adam.update: .*{message}"):
        optimizer.update(params, grads)
    after = (params, grads, dict(optimizer.m), dict(optimizer.v), optimizer.t)
    assert repr(after) == repr(before)
    optimizer.update({"ok": params["ok"]}, {"ok": grads["ok"]})  # and it still works
    assert optimizer.t == warm + 1


@pytest.mark.parametrize(
    ("params", "grads", "error"),
    [
        ("ab", "ab", TypeError),
        (np.ones(3), np.ones(3), TypeError),
        ({"w": np.ones(3)}, [np.ones(3)], TypeError),
        ([np.ones(3)], {0: np.ones(3)}, TypeError),
        ([np.ones(3)], [np.ones(3), np.ones(3)], ValueError),
        ((1.0,), (1.0,), TypeError),
        (None, None, TypeError),
    ],
)
@pytest.mark.parametrize("warm", [False, True])
def test_containers_of_the_wrong_kind(params, grads, error, warm):
    optimizer = Adam()
    if warm:
        good = [np.ones(3)] if isinstance(params, list) else {"w": np.ones(3)}
        optimizer.update(good, copy.deepcopy(good))
    with pytest.raises(error, match=r"Adam.update: .*(params|grads)"):
        optimizer.update(params, grads)
    assert optimizer.t == warm


def test_a_parameter_may_not_change_shape_or_dtype():
    optimizer = Adam()
    optimizer.update({"w": np.ones(3)}, {"w": np.ones(3)})
    for value in (np.ones(4), np.ones(3, np.float32)):
        with pytest.raises(ValueError, match=r"params\['w'\] must keep shape"):
            optimizer.update({"w": value}, {"w": value.copy()})
    assert optimizer.t == 1


def test_a_parameter_frozen_after_binding_is_refused():
    optimizer, params = Adam(), {"w": np.ones(3)}
    optimizer.update(params, {"w": np.ones(3)})
    kept = frozen(params["w"]).copy()
    with pytest.raises(ValueError, match="read-only"):
        optimizer.update(params, {"w": np.ones(3)})
    np.testing.assert_array_equal(params["w"], kept)
