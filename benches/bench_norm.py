"""Norms in training: forward, forward into an array that is there, forward and backward."""

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

IMAGES = (32, 64, 56, 56)

# The class, its arguments, the input.
PROBLEMS = [
    ("BatchNorm", (128,), (64, 128)),
    ("BatchNorm", (1024,), (256, 1024)),
    ("BatchNorm", (1024,), (4096, 1024)),
    ("BatchNorm", (256,), (65536, 256)),
    ("BatchNorm", (64,), IMAGES),
    ("LayerNorm", (64,), (16384, 64)),
    ("LayerNorm", (1024,), (4096, 1024)),
    ("LayerNorm", (256,), (65536, 256)),
    ("RMSNorm", (256,), (65536, 256)),
    ("GroupNorm", (8, 64), IMAGES),
    ("InstanceNorm", (64,), IMAGES),
]
BATCH = [problem for problem in PROBLEMS if problem[0] == "BatchNorm"]
LARGE = [problem for problem in PROBLEMS if problem[0] in ("BatchNorm", "LayerNorm")
         and problem[2] == (65536, 256)]  # fmt: skip

TARGETS = {
    ("BatchNorm", "forward", (64, 128)): (faster(3, "torch eager"),),
    ("BatchNorm", "forward", (256, 1024)): (faster(1.6, "torch eager"),),
    ("BatchNorm", "forward", (4096, 1024)): (faster(1.2, "torch eager"),),
    ("BatchNorm", "forward", (65536, 256)): (faster(4, "torch eager"), of_floor(75)),
    ("BatchNorm", "forward", IMAGES): (faster(3, "torch eager"),),
    ("BatchNorm", "forward out=", (65536, 256)): (faster(1, "torch out"),),
    ("BatchNorm", "forward+backward", (64, 128)): (faster(6, "torch eager"),),
    ("BatchNorm", "forward+backward", (256, 1024)): (faster(2.5, "torch eager"),),
    ("BatchNorm", "forward+backward", (4096, 1024)): (faster(2.5, "torch eager"),),
    ("BatchNorm", "forward+backward", (65536, 256)): (faster(4, "torch eager"),),
    ("BatchNorm", "forward+backward", IMAGES): (faster(4, "torch eager"),),
    ("BatchNorm", "forward, memory kept", (65536, 256)): (faster(1.1, "torch kept"),),
    ("BatchNorm", "forward+backward, memory kept", (65536, 256)): (faster(1.1, "torch kept"),),
    ("LayerNorm", "forward", (65536, 256)): (faster(4, "torch eager"),),
    ("LayerNorm", "forward+backward", (65536, 256)): (faster(3, "torch eager"),),
    ("LayerNorm", "forward+backward", (4096, 1024)): (faster(1.3, "torch eager"),),
    ("LayerNorm", "forward, memory kept", (65536, 256)): (faster(1.1, "torch kept"),),
    ("LayerNorm", "forward+backward, memory kept", (65536, 256)): (faster(1.1, "torch kept"),),
}


def named(problem):
    """Write a problem as the test's name does."""
    name, _, shape = problem
    return f"{name}-{'x'.join(map(str, shape))}"


class Problem:
    """Both layers and their input; ours has shown that it is right."""

    def __init__(self, name, arguments, shape):
        rng = np.random.default_rng(0)
        self.x, self.dy = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
        self.y = np.empty_like(self.x)
        self.name, self.arguments = name, arguments
        self.ours = getattr(fastreg, name)(*arguments)
        self.theirs = getattr(reference, name)(*arguments)
        # Arrays moved: batch norm reads its inputs for the sums and once more.
        self.forward, self.backward = (3, 5) if name == "BatchNorm" else (2, 3)
        self.verify()

    def verify(self):
        """Hold results and gradients of our layer against the reference's in float64."""
        layer, exact = self.ours, getattr(reference, self.name)(*self.arguments)
        y = exact.forward(self.x.astype(np.float64))
        dx = exact.backward(self.dy.astype(np.float64))
        assert_rounded(layer.forward(self.x, out=self.y), y)
        assert_rounded(layer.forward(self.x), y)
        assert_rounded(layer.backward(self.dy), dx)
        for gradient in ("dgamma", "dbeta") if layer.affine else ():
            if hasattr(layer, gradient):
                found = getattr(layer, gradient).astype(np.float32)
                assert_rounded(found, getattr(exact, gradient))

    def peers(self, passes):
        """Return torch's calls of the same passes: "forward", or "both" of them."""
        dy = () if passes == "forward" else (self.dy,)
        if self.name == "BatchNorm":
            return getattr(peers, f"batch_norm_{passes}")(self.x, *dy)
        return getattr(peers, f"row_norm_{passes}")(self.name, self.arguments, self.x, *dy)

    def comparison(self, form, moved, call, backends):
        """Set our call against others, on arrays that are moved so many times."""
        shape = self.x.shape
        return Comparison(
            self.name,
            f"{'x'.join(map(str, shape))} {form}",
            call,
            backends,
            elements=self.x.size,
            nbytes=moved * self.x.nbytes,
            floor=bandwidth.copy,
            targets=TARGETS.get((self.name, form, shape), ()),
        )


@pytest.fixture(scope="module", params=PROBLEMS, ids=named)
def problem(request):
    """Build and verify each problem once, for all benchmarks of it."""
    return Problem(*request.param)


def bench_forward(compare, problem):
    """Time a call that makes its output, as one writes it first."""
    call, numpy = (partial(layer.forward, problem.x) for layer in (problem.ours, problem.theirs))
    backends = {"reference": numpy} | problem.peers("forward")
    compare(problem.comparison("forward", problem.forward, call, backends))


@pytest.mark.parametrize("problem", BATCH, ids=named, indirect=True)
def bench_forward_out(compare, problem):
    """Time a call that is given its output, as torch's kernel of batch norm is, too."""
    call = partial(problem.ours.forward, problem.x, out=problem.y)
    backends = {"reference": partial(problem.theirs.forward, problem.x)}
    backends |= peers.batch_norm_out(problem.x)
    compare(problem.comparison("forward out=", problem.forward, call, backends))


def both(layer, x, dy):
    """Do what a training step asks of a layer."""
    layer.forward(x)
    layer.backward(dy)


def bench_forward_backward(compare, problem):
    """Time both passes of a training step."""
    call, numpy = (
        partial(both, layer, problem.x, problem.dy) for layer in (problem.ours, problem.theirs)
    )
    backends = {"reference": numpy} | problem.peers("both")
    moved = problem.forward + problem.backward
    compare(problem.comparison("forward+backward", moved, call, backends))


@pytest.mark.parametrize("problem", LARGE, ids=named, indirect=True)
def bench_forward_kept(compare, problem):
    """Time a call that makes its output where both sides reuse memory."""
    with allocator.kept_blocks(problem.peers("forward")) as backends:
        call = partial(problem.ours.forward, problem.x)
        compare(problem.comparison("forward, memory kept", problem.forward, call, backends))


@pytest.mark.parametrize("problem", LARGE, ids=named, indirect=True)
def bench_forward_backward_kept(compare, problem):
    """Time both passes where both sides reuse memory."""
    with allocator.kept_blocks(problem.peers("both")) as backends:
        call = partial(both, problem.ours, problem.x, problem.dy)
        moved = problem.forward + problem.backward
        compare(problem.comparison("forward+backward, memory kept", moved, call, backends))
