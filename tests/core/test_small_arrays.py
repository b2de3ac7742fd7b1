"""Small results are used again once nobody refers to them: never before, and never changed ones."""

import weakref

import numpy as np
import pytest

import fastreg
from fastreg import nn
from fastreg._core import _kernels

LOOKS = {
    "itself": lambda Y: Y,
    "a view": lambda Y: Y[1:],
    "another dtype": lambda Y: Y.view(np.int64),
    "its transpose": lambda Y: Y.T,
    "its bytes": memoryview,
    "DLPack": np.from_dlpack,
    "a list": lambda Y: [Y],
}


@pytest.fixture(autouse=True)
def nothing_kept():
    fastreg.empty_cache()
    yield
    fastreg.empty_cache()


def product(value=1.0, shape=(3, 5)):
    return fastreg.matmul(np.full((shape[0], 1), value), np.ones((1, shape[1])))


@pytest.fixture
def reuse():
    """Skip where every array is new: under the address sanitizer, and without the GIL."""
    del_me = product()
    del del_me
    if not _kernels.pool_info()["small_arrays"]:
        pytest.skip("this build makes every small array anew")


def test_a_result_without_references_serves_again(reuse):
    Y = product(1.0)
    first = id(Y)
    del Y
    Y = product(2.0)
    assert id(Y) == first
    np.testing.assert_array_equal(Y, 2.0)


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_no_array_is_used_again_while_something_refers_to_it(look):
    held = look(product(1.0))
    others = [product(2.0) for _ in range(12)]
    seen = held[0] if isinstance(held, list) else np.asarray(held)
    assert not any(np.shares_memory(seen, other) for other in others)
    wanted = np.float64(1.0)
    assert (seen == (wanted.view(np.int64) if seen.dtype == np.int64 else wanted)).all()


def test_an_array_with_a_weak_reference_is_left_alone(reuse):
    Y = product(1.0)
    there = weakref.ref(Y)
    del Y
    others = [product(2.0) for _ in range(3)]
    assert all(there() is not other for other in others)


@pytest.mark.parametrize(
    "change",
    [
        lambda Y: Y.setflags(write=False),
        lambda Y: setattr(Y, "dtype", Y.dtype.newbyteorder()),
        lambda Y: setattr(Y, "shape", (5, 3)),
    ],
    ids=["read-only", "byte order", "shape"],
)
@pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")
def test_a_changed_array_does_not_serve_again(change):
    Y = product(1.0)
    change(Y)
    del Y
    Y = product(2.0)
    assert Y.shape == (3, 5)
    assert Y.dtype == np.float64
    assert Y.dtype.isnative
    assert Y.flags.writeable
    np.testing.assert_array_equal(Y, 2.0)


def test_the_number_kept_is_bounded():
    for n in range(1, 400):
        product(shape=(n % 20 + 1, n % 37 + 1))
    assert _kernels.pool_info()["small_arrays"] <= 128
    fastreg.empty_cache()
    assert _kernels.pool_info()["small_arrays"] == 0


def test_gradients_that_somebody_keeps_stay_what_they_were():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((8, 6), dtype=np.float32), rng.integers(0, 3, 8)
    model = nn.mlp((6, 5, 3), rng=0)
    kept, copies = [], []
    for _ in range(20):
        outputs = model.forward(X)
        _, slope = nn.softmax_cross_entropy(outputs, y)
        model.backward(slope)
        kept += [outputs, slope, *model.grads.values()]
        copies += [array.copy() for array in kept[len(copies) :]]
        X = X * np.float32(1.01)
    for array, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
@pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")
def test_nobody_is_given_the_strides_or_metadata_that_another_set(shape):
    usual = product(shape=shape).strides
    for name in ("strides", "dtype"):
        Y = product(shape=shape)
        odd = tuple(8000 if n == 1 else s for n, s in zip(shape, usual, strict=True))
        setattr(Y, name, odd if name == "strides" else np.dtype("f8", metadata={"mine": 1}))
        del Y
        found = [product(shape=shape) for _ in range(9)]
        assert {Y.strides for Y in found} == {usual}
        assert all(Y.dtype.metadata is None for Y in found)
