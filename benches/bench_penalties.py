"""Penalties on one tensor and on many, and constraints on the columns of a matrix."""

from fastreg.bench.plugin import compared
from fastreg.bench.problems.penalty import FORMS
from fastreg.bench.work import SIZES, Work

GROUPED = ("GroupLasso", "max_norm", "unit_norm")
TENSORS = {size: ((n,), 1) for size, n in SIZES.items()} | {"100×1K": ((SIZES["1K"],), 100)}


@compared(
    *(
        Work("penalty", name, shape, count, label=f"{name}, {size}")
        for name in FORMS
        if name not in GROUPED
        for size, (shape, count) in TENSORS.items()
    ),
    *(
        Work("penalty", name, shape, dtype=dtype, label=f"{name}, {shape[0]}×{shape[1]}, {dtype}")
        for name in GROUPED
        for shape in [(256, 1024), (4096, 1024)]
        for dtype in ("float32", "float64")
    ),
)  # fmt: skip
def bench_penalty(side):
    """Time one call on a list of tensors."""
    side()
