"""Batch norm over shards: the statistics of all values, merged in the order of one tree."""

import numpy as np
import pytest

from fastreg import BatchNorm
from fastreg.dist.batchnorm import SyncBatchNorm, merged
from fastreg.dist.tree import tree_sum

CUTS = (0, 3, 10, 11, 30, 41)  # five shards of different sizes


def parts(X):
    return {j: X[a:b] for j, (a, b) in enumerate(zip(CUTS[:-1], CUTS[1:], strict=True))}


def test_merged_statistics_are_those_of_all_values_in_float64():
    X = np.random.default_rng(0).standard_normal((41, 7)) * np.logspace(-3, 3, 7) + 1e4
    known = {
        (j, j + 1): (len(x), x.mean(0), ((x - x.mean(0)) ** 2).sum(0)) for j, x in parts(X).items()
    }
    count, mean, squares = tree_sum(0, 5, known, merged)
    assert count == 41
    exact = X.astype(np.longdouble)
    assert np.allclose(mean, exact.mean(0), rtol=1e-15, atol=0)
    assert np.allclose(squares / 41, exact.var(0), rtol=1e-7, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shards_have_outputs_and_gradients_of_the_whole_batch(dtype):
    rng = np.random.default_rng(1)
    X, dY = (rng.standard_normal((41, 7)).astype(dtype) for _ in range(2))
    X += 5
    whole, layer = BatchNorm(7), BatchNorm(7)
    norm = SyncBatchNorm(layer, lambda own: own, 5)
    Y, dX = whole.forward(X), whole.backward(dY)
    found = norm.forward(parts(X))
    slopes, dgamma, dbeta = norm.backward(parts(dY))
    bound = {"rtol": 0, "atol": 1e-5 if dtype == "float32" else 1e-13}
    assert np.allclose(np.concatenate([*found.values()]), Y, **bound)
    assert np.allclose(np.concatenate([*slopes.values()]), dX, **bound)
    assert np.allclose(dgamma.ravel(), whole.dgamma, rtol=1e-5, atol=1e-5)
    assert np.allclose(dbeta.ravel(), whole.dbeta, rtol=1e-5, atol=1e-5)
    for name in ("running_mean", "running_var"):
        assert np.allclose(getattr(layer, name), getattr(whole, name), rtol=1e-6)


def test_the_order_of_the_merge_is_that_of_the_tree_whoever_holds_the_shards():
    X = np.random.default_rng(2).standard_normal((41, 7)).astype(np.float32) + 100
    seen = []
    for gather in (lambda own: own, lambda own: dict(reversed(own.items()))):
        layer = BatchNorm(7)
        seen.append(SyncBatchNorm(layer, gather, 5).forward(parts(X)))
        seen.append({0: layer.running_mean, 1: layer.running_var})
    for one, other in zip(seen[:2], seen[2:], strict=True):
        assert all(np.array_equal(one[j], other[j]) for j in one)
    order = []

    def note(one, other):
        order.append((one, other))
        return one + other

    assert tree_sum(0, 5, {(j, j + 1): str(j) for j in (4, 2, 0, 3, 1)}, note) == "01234"
    assert order == [("0", "1"), ("2", "3"), ("01", "23"), ("0123", "4")]
