"""LayerNorm, RMSNorm, GroupNorm and InstanceNorm: forward, and forward and backward."""

from functools import partial

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


def bench_forward_backward(compare, problem):
    """Time both passes of a training step."""

    def both(layer):
        layer.forward(problem.x)
        layer.backward(problem.dy)

    backends = {"reference": partial(both, problem.theirs)}
    backends |= peers.row_norm_both(problem.name, problem.arguments, problem.x, problem.dy)
    call = partial(both, problem.ours)
    compare(problem.comparison("forward+backward", FORWARD + BACKWARD, call, backends))
