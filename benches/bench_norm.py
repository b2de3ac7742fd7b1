"""Batch norm in training: forward, forward into an array that is there, forward and backward."""

from functools import partial

import allocator
import bandwidth
import numpy as np
import peers
import pytest
from comparison import Comparison
from targets import faster, of_floor
from verify import assert_rounded

import fastreg
from fastreg import reference

FORWARD = 3  # arrays moved: x read for its statistics and once more, y written
BACKWARD = 5  # x and dy read for their sums and once more, dx written

IMAGES = (32, 64, 56, 56)
SHAPES = [(64, 128), (256, 1024), (4096, 1024), (65536, 256), IMAGES]

TARGETS = {
    ("forward", (64, 128)): (faster(3, "torch eager"),),
    ("forward", (256, 1024)): (faster(1.6, "torch eager"),),
    ("forward", (4096, 1024)): (faster(1.2, "torch eager"),),
    ("forward", (65536, 256)): (faster(4, "torch eager"), of_floor(75)),
    ("forward", IMAGES): (faster(3, "torch eager"),),
    ("forward out=", (65536, 256)): (faster(1, "torch out"),),
    ("forward+backward", (64, 128)): (faster(6, "torch eager"),),
    ("forward+backward", (256, 1024)): (faster(2.5, "torch eager"),),
    ("forward+backward", (4096, 1024)): (faster(2.5, "torch eager"),),
    ("forward+backward", (65536, 256)): (faster(4, "torch eager"),),
    ("forward+backward", IMAGES): (faster(4, "torch eager"),),
    ("forward, memory kept", (65536, 256)): (faster(1.1, "torch kept"),),
    ("forward+backward, memory kept", (65536, 256)): (faster(1.1, "torch kept"),),
}


def named(shape):
    """Write a shape as the table does."""
    return "x".join(str(size) for size in shape)


class Problem:
    """Both layers and their input; ours has shown that it is right."""

    def __init__(self, shape):
        rng = np.random.default_rng(0)
        self.x, self.dy = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
        self.y = np.empty_like(self.x)
        self.ours, self.theirs = fastreg.BatchNorm(shape[1]), reference.BatchNorm(shape[1])
        self.verify()

    def verify(self):
        """Hold results and gradients of our layer against the textbook's in float64."""
        layer, exact = self.ours, reference.BatchNorm(self.ours.n_features)
        y = exact.forward(self.x.astype(np.float64))
        dx = exact.backward(self.dy.astype(np.float64))
        assert_rounded(layer.forward(self.x, out=self.y), y)
        assert_rounded(layer.forward(self.x), y)
        assert_rounded(layer.backward(self.dy), dx)
        assert_rounded(layer.dgamma.astype(np.float32), exact.dgamma)
        assert_rounded(layer.dbeta.astype(np.float32), exact.dbeta)

    def comparison(self, form, passes, call, backends):
        """Set our call against others, on arrays that are moved ``passes`` times."""
        return Comparison(
            "BatchNorm",
            f"{named(self.x.shape)} {form}",
            call,
            backends,
            elements=self.x.size,
            nbytes=passes * self.x.nbytes,
            floor=bandwidth.copy,
            targets=TARGETS.get((form, self.x.shape), ()),
        )


@pytest.fixture(scope="module", params=SHAPES, ids=named)
def problem(request):
    """Build and verify each shape once, for all benchmarks of it."""
    return Problem(request.param)


def bench_forward(compare, problem):
    """Time a call that makes its output, as one writes it first."""
    call, textbook = (partial(layer.forward, problem.x) for layer in (problem.ours, problem.theirs))
    backends = {"reference": textbook} | peers.batch_norm_forward(problem.x)
    compare(problem.comparison("forward", FORWARD, call, backends))


def bench_forward_out(compare, problem):
    """Time a call that is given its output."""
    call = partial(problem.ours.forward, problem.x, out=problem.y)
    backends = {"reference": partial(problem.theirs.forward, problem.x)}
    backends |= peers.batch_norm_out(problem.x)
    compare(problem.comparison("forward out=", FORWARD, call, backends))


def both(layer, x, dy):
    """Do what a training step asks of a layer."""
    layer.forward(x)
    layer.backward(dy)


def bench_forward_backward(compare, problem):
    """Time both passes of a training step."""
    call, textbook = (
        partial(both, layer, problem.x, problem.dy) for layer in (problem.ours, problem.theirs)
    )
    backends = {"reference": textbook} | peers.batch_norm_both(problem.x, problem.dy)
    compare(problem.comparison("forward+backward", FORWARD + BACKWARD, call, backends))


@pytest.fixture(scope="module")
def large():
    """Build the problem of memory reuse, and verify it."""
    return Problem((65536, 256))


def bench_forward_kept(compare, large):
    """Time a call that makes its output where both sides reuse memory."""
    with allocator.kept_blocks(peers.batch_norm_forward(large.x)) as backends:
        call = partial(large.ours.forward, large.x)
        compare(large.comparison("forward, memory kept", FORWARD, call, backends))


def bench_forward_backward_kept(compare, large):
    """Time both passes where both sides reuse memory."""
    with allocator.kept_blocks(peers.batch_norm_both(large.x, large.dy)) as backends:
        call = partial(both, large.ours, large.x, large.dy)
        form = "forward+backward, memory kept"
        compare(large.comparison(form, FORWARD + BACKWARD, call, backends))
