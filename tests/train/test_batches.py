"""Batches: the rows of an epoch's order, whatever the data look like."""

import harness
import numpy as np
import pytest

import fastreg
from fastreg._core._kernels import count_right, rows_at, shuffle
from fastreg.nn import mlp, softmax_cross_entropy
from fastreg.train import fit

SOURCES = [
    np.arange(90, dtype=np.float32).reshape(30, 3), np.arange(30), np.arange(30) % 2 == 0,
    np.arange(30, dtype=np.int8), np.arange(120.0).reshape(30, 2, 2), np.zeros((30, 0)),
    np.arange(30 * 5000, dtype=np.float64).reshape(30, 5000),  # a row is a task
]  # fmt: skip


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: f"{source.dtype}{source.shape}")
def test_rows_are_those_of_the_order(source, threads, rng):
    order = rng.permutation(30)
    for start, stop in ((0, 30), (3, 11), (29, 30), (7, 7)):
        wanted = source[order[start:stop]]
        np.testing.assert_array_equal(rows_at(source, order, start, stop), wanted, strict=True)
        room = np.zeros((12, *source.shape[1:]), source.dtype)
        if stop - start <= 12:
            found = rows_at(source, order, start, stop, room)
            assert np.shares_memory(found, room) or not found.size
            np.testing.assert_array_equal(found, wanted, strict=True)
            assert not room[stop - start :].any()


def test_rows_that_are_not_there_are_refused():
    source, order = np.zeros((3, 2)), np.array([0, 1, 2])
    with pytest.raises(IndexError, match="no row 3 among 3"):
        rows_at(source, np.array([0, 3]), 0, 2)
    with pytest.raises(IndexError, match="no row -1 among 3"):
        rows_at(source, np.array([-1]), 0, 1)
    for start, stop in ((-1, 2), (2, 1), (0, 4)):
        with pytest.raises(ValueError, match="no places"):
            rows_at(source, order, start, stop)
    for bad in (source.T, source.astype(">f8"), np.array(["a"]), np.array(1.0)):
        with pytest.raises(TypeError, match="must be native and contiguous"):
            rows_at(bad, order, 0, 1)
    for room in (np.zeros((1, 2)), np.zeros((3, 3)), np.zeros((3, 2), np.float32), np.zeros(3)):
        with pytest.raises(ValueError, match="room must be"):
            rows_at(source, order, 0, 3, room)


SOURCES_OF_DRAWS = [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64]


@pytest.mark.parametrize("kind", SOURCES_OF_DRAWS, ids=lambda kind: kind.__name__)
def test_orders_are_those_that_numpy_draws(kind):
    for n in (0, 1, 2, 3, 4, 5, 31, 32, 33, 1000, 1025):
        ours, theirs = (np.random.Generator(kind(n)) for _ in range(2))
        for rng in ours, theirs:
            rng.integers(0, 9, 1, dtype=np.int32)  # half of a draw is left over
        for _ in range(2):
            order = np.arange(n, dtype=np.int64)
            shuffle(ours, order)
            np.testing.assert_array_equal(order, theirs.permutation(n))
        assert str(ours.bit_generator.state) == str(theirs.bit_generator.state)


def test_what_is_no_plain_order_is_shuffled_by_its_generator():
    class Backwards(np.random.Generator):
        def shuffle(self, order):
            order[:] = order[::-1].copy()

    order = np.arange(9)
    shuffle(Backwards(np.random.PCG64(0)), order)
    assert order.tolist() == list(range(9))[::-1]
    for order in (np.arange(18)[::2], np.arange(9, dtype=np.int32), np.arange(9.0)):
        wanted = order.copy()
        np.random.default_rng(1).shuffle(wanted)
        shuffle(np.random.default_rng(1), order)
        np.testing.assert_array_equal(order, wanted, strict=True)


def test_a_run_does_not_depend_on_the_layout_of_the_targets(rng):
    X, y = rng.standard_normal((50, 4)), rng.integers(0, 3, 50)
    strided = np.repeat(y, 2)[::2]

    def train(targets):
        model = mlp([4, 5, 3], rng=0)
        history = fit(
            model, softmax_cross_entropy, fastreg.Adam(), X, targets, epochs=2, batch_size=7, rng=1
        )
        return history["loss"], model.params

    wanted_loss, wanted = train(y)
    for targets in (strided, y.astype(">i8"), y.astype(np.uint8), y[::-1].copy()[::-1]):
        loss, params = train(targets)
        assert loss == wanted_loss
        for name, array in params.items():
            harness.same_bits(array, wanted[name])


def test_right_rows_are_those_of_argmax(dtype, rng):
    """Ties go to the first, NaN stands above all, a label that is no class is never right."""
    outputs = rng.integers(0, 3, (2000, 4)).astype(dtype)
    outputs[rng.random(outputs.shape) < 0.1] = np.nan
    outputs[rng.random(outputs.shape) < 0.1] = np.inf
    labels = rng.integers(-1, 5, 2000)
    wanted = np.count_nonzero(outputs.argmax(axis=1) == labels)
    assert count_right(outputs, labels) == wanted
    assert count_right(outputs, labels.astype(np.int32)) == wanted
    assert count_right(np.asfortranarray(outputs), np.repeat(labels, 2)[::2]) == wanted
