"""Every loss with its gradient."""

from fastreg.bench.plugin import compared
from fastreg.bench.work import Work
from fastreg.nn import losses

README = ("softmax_cross_entropy", (8192, 128))


@compared(
    *(
        Work("loss", name, shape, dtype=dtype, quick=(name, shape, dtype) == (*README, "float32"),
             label=f"{name}, {'×'.join(map(str, shape))}{more}")
        for dtype, more in (("float32", ""), ("float64", ", float64"))
        for name in losses.__all__
        for shape in ([README[1]] if more else [(100, 10), README[1], (131072, 128)])
    )
)  # fmt: skip
def bench_loss(side):
    """Time the value and the gradient in one call."""
    side()
