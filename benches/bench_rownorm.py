"""LayerNorm, RMSNorm, GroupNorm and InstanceNorm: forward, and forward and backward."""

from functools import partial

import allocator
import bandwidth
import numpy as np
import peers
import pytest
from comparison import Comparison
from targets import faster
from verify import assert_rounded

import fastreg
from fastreg import reference

IMAGES = (32, 64, 56, 56)

# The class, its arguments, the input.
PROBLEMS = [
    ("LayerNorm", (64,), (16384, 64)),
    ("LayerNorm", (1024,), (4096, 1024)),
    ("LayerNorm", (256,), (65536, 256)),
    ("RMSNorm", (256,), (65536, 256)),
    ("GroupNorm", (8, 64), IMAGES),
    ("InstanceNorm", (64,), IMAGES),
]

FORWARD = 2  # arrays moved: x read, y written
BACKWARD = 3  # x and dy read, dx written

TARGETS = {
    ("LayerNorm", "forward", (65536, 256)): (faster(4, "torch eager"),),
    ("LayerNorm", "forward+backward", (65536, 256)): (faster(3, "torch eager"),),
    ("LayerNorm", "forward+backward", (4096, 1024)): (faster(1.3, "torch eager"),),
    ("LayerNorm", "forward, memory kept", (65536, 256)): (faster(1.1, "torch kept"),),
    ("LayerNorm", "forward+backward, memory kept", (65536, 256)): (faster(1.1, "torch kept"),),
}


class Problem:
    """Both layers and their input; ours has shown that it is right."""

    def __init__(self, name, arguments, shape):
        rng = np.random.default_rng(0)
        self.x, self.dy = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
        self.name, self.arguments = name, arguments
        self.ours = getattr(fastreg, name)(*arguments)
        self.theirs = getattr(reference, name)(*arguments)
        self.verify()

    def verify(self):
        """Hold results and gradients of our layer against the textbook's in float64."""
        exact = getattr(reference, self.name)(*self.arguments)
        assert_rounded(self.ours.forward(self.x), exact.forward(self.x.astype(np.float64)))
        assert_rounded(self.ours.backward(self.dy), exact.backward(self.dy.astype(np.float64)))
        if self.ours.affine:
            assert_rounded(self.ours.dgamma.astype(np.float32), exact.dgamma)

    def comparison(self, form, passes, call, backends):
        """Set our call against others, on arrays that are moved ``passes`` times."""
        shape = self.x.shape
        return Comparison(
            self.name,
            f"{'x'.join(str(size) for size in shape)} {form}",
            call,
            backends,
            elements=self.x.size,
            nbytes=passes * self.x.nbytes,
            floor=bandwidth.copy,
            targets=TARGETS.get((self.name, form, shape), ()),
        )


@pytest.fixture(
    scope="module", params=PROBLEMS, ids=lambda row: f"{row[0]}-{'x'.join(map(str, row[2]))}"
)
def problem(request):
    """Build and verify each problem once, for all benchmarks of it."""
    return Problem(*request.param)


def bench_forward(compare, problem):
    """Time a call that makes its output, as one writes it first."""
    call, textbook = (partial(layer.forward, problem.x) for layer in (problem.ours, problem.theirs))
    backends = {"reference": textbook}
    backends |= peers.row_norm_forward(problem.name, problem.arguments, problem.x)
    compare(problem.comparison("forward", FORWARD, call, backends))


def both(layer, x, dy):
    """Do what a training step asks of a layer."""
    layer.forward(x)
    layer.backward(dy)


def bench_forward_backward(compare, problem):
    """Time both passes of a training step."""
    call, textbook = (
        partial(both, layer, problem.x, problem.dy) for layer in (problem.ours, problem.theirs)
    )
    backends = {"reference": textbook}
    backends |= peers.row_norm_both(problem.name, problem.arguments, problem.x, problem.dy)
    compare(problem.comparison("forward+backward", FORWARD + BACKWARD, call, backends))


@pytest.fixture(scope="module")
def large():
    """Build the problem of memory reuse, and verify it."""
    return Problem("LayerNorm", (256,), (65536, 256))


def bench_forward_kept(compare, large):
    """Time a call that makes its output where both sides reuse memory."""
    peer = peers.row_norm_forward(large.name, large.arguments, large.x)
    with allocator.kept_blocks(peer) as backends:
        call = partial(large.ours.forward, large.x)
        compare(large.comparison("forward, memory kept", FORWARD, call, backends))


def bench_forward_backward_kept(compare, large):
    """Time both passes where both sides reuse memory."""
    peer = peers.row_norm_both(large.name, large.arguments, large.x, large.dy)
    with allocator.kept_blocks(peer) as backends:
        call = partial(both, large.ours, large.x, large.dy)
        form = "forward+backward, memory kept"
        compare(large.comparison(form, FORWARD + BACKWARD, call, backends))
