"""Kernels read nothing before or after their arrays: behind their ends are pages without access."""

import ctypes
import mmap
import sys

import numpy as np
import pytest

import fastreg
from fastreg import nn, optim

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pages are protected by mprotect")
SIZES = (1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 65, 255, 257, 1000)
SHAPES = [(1, 1, 1), (5, 3, 7), (7, 17, 1), (1, 33, 65), (33, 300, 31), (70, 9, 100), (8, 513, 64)]


def between_pages(array, place):
    """A copy that ends, or begins, where a page does that nobody may read."""
    page = mmap.PAGESIZE
    room = -(-array.nbytes // page) * page
    memory = mmap.mmap(-1, room + 2 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    for at in (start, start + page + room):
        assert protect(at, page, 0) == 0
    offset = page if place == "first" else page + room - array.nbytes
    copy = np.frombuffer(memory, array.dtype, array.size, offset).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.fixture(params=["first", "last"])
def lone(request):
    return lambda array: between_pages(array, request.param)


@pytest.mark.parametrize("turned", ["nn", "nt", "tn", "tt"])
def test_products(turned, lone, level, dtype, rng):
    for m, k, n in SHAPES:
        a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
        left = lone(a) if turned[0] == "n" else lone(np.ascontiguousarray(a.T)).T
        right = lone(b) if turned[1] == "n" else lone(np.ascontiguousarray(b.T)).T
        np.testing.assert_array_equal(fastreg.matmul(left, right), fastreg.matmul(a, b))


LAYERS = {
    "ReLU": lambda n: nn.ReLU(),
    "GELU": lambda n: nn.GELU(),
    "Tanh": lambda n: nn.Tanh(),
    "Sigmoid": lambda n: nn.Sigmoid(),
    "Dropout": lambda n: fastreg.Dropout(0.3, rng=1),
    "GaussianDropout": lambda n: fastreg.GaussianDropout(0.3, rng=1),
    "LayerNorm": lambda n: fastreg.LayerNorm(n),
    "RMSNorm": lambda n: fastreg.RMSNorm(n),
    "BatchNorm": lambda n: fastreg.BatchNorm(n),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, lone, level, dtype, rng):
    for n in SIZES:
        X, dY = rng.normal(size=(2, 3, n)).astype(dtype)
        near, far = LAYERS[name](n), LAYERS[name](n)
        np.testing.assert_array_equal(near.forward(lone(X)), far.forward(X))
        np.testing.assert_array_equal(near.backward(lone(dY)), far.backward(dY))


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "binary_cross_entropy", "mse", "huber"])
def test_losses(name, lone, level, dtype, rng):
    loss = getattr(nn, name)
    for n in SIZES:
        X = rng.normal(size=(5, n)).astype(dtype)
        y = rng.uniform(size=(5, n)).astype(dtype)
        y = rng.integers(0, n, 5) if name == "softmax_cross_entropy" else y
        found, expected = loss(lone(X), lone(y)), loss(X, y)
        assert found[0] == expected[0]
        np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("rule", ["SGD", "Adam", "Adan", "LAMB", "Lion"])
def test_steps(rule, lone, level, dtype, rng):
    for n in SIZES:
        w, g = rng.normal(size=(2, n)).astype(dtype)
        services = {"lambda_l1": 0.01, "clip_norm": 0.5}
        there, here = lone(w), w.copy()
        getattr(optim, rule)(0.1, **services).update({"w": there}, {"w": lone(g)})
        getattr(optim, rule)(0.1, **services).update({"w": here}, {"w": g})
        np.testing.assert_array_equal(there, here)


def test_penalties(lone, level, dtype, rng):
    for n in SIZES:
        w = rng.normal(size=(3, n)).astype(dtype)
        for penalty in (fastreg.ElasticNet(0.1, 0.2), fastreg.GroupLasso(0.3)):
            assert penalty.value(lone(w)) == penalty.value(w)
            np.testing.assert_array_equal(penalty.gradient(lone(w)), penalty.gradient(w))
            np.testing.assert_array_equal(penalty.prox(lone(w)), penalty.prox(w))
