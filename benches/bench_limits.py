"""What this machine can do at most, measured in the same run."""

from fastreg.bench.plugin import compared
from fastreg.bench.work import Work

MOVED = (25_000_000,)


@compared(
    Work("limit", "sweep", MOVED, label="sweep in place", quick=True),
    Work("limit", "copy", MOVED, label="copy", quick=True),
    Work("limit", "product", (512, 512), label="product, float32", quick=True),
    Work("limit", "product", (512, 512), dtype="float64", label="product, float64", quick=True),
)
def bench_limit(side):
    """Time what only moves bytes, or only multiplies and adds."""
    side()
