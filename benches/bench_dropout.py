"""Dropout and its family in training."""

from fastreg import dropout
from fastreg.bench.plugin import compared
from fastreg.bench.work import SIZES, Work

SHAPES = {
    "SpatialDropout": (500, 1000, 50),
    "StochasticDepth": (5000, 5000),
    "DropConnect": (5000, 5000),
}


@compared(
    *(
        Work("dropout", "Dropout", (n,), dtype=dtype, label=f"Dropout 0.5, {size}{more}",
             quick=size == "25M" and not more, at_least=(("torch", 40),) if size == "25M" else ())
        for dtype, more in (("float32", ""), ("float64", ", float64"))
        for size, n in SIZES.items()
        if size == "1M" or not more
    ),
    *(
        Work("dropout", name, SHAPES.get(name, (SIZES["25M"],)), label=f"{name} 0.5, 25M")
        for name in dropout.__all__
        if name != "Dropout"
    ),
)  # fmt: skip
def bench_dropout(side):
    """Time a call that makes its output."""
    side()
