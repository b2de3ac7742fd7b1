"""A whole training step: forward pass, loss, backward pass and AdamW."""

from fastreg.bench.plugin import compared
from fastreg.bench.work import Work

STEPS = {  # batch and layer sizes, form: what is expected
    ((64, 64, 64, 32, 10), "BN+dropout"): (("torch", 18), ("JAX", 4.5)),
    ((64, 64, 64, 32, 10), "plain"): (("torch", 12), ("JAX", 2.2)),
    ((128, 784, 256, 128, 10), "BN+dropout"): (("torch", 3.5), ("JAX", 2)),
    ((128, 784, 1024, 1024, 10), "BN+dropout"): (("torch", 2.2), ("JAX", 1.4)),
}


@compared(
    *(
        Work("step", "step", shape, dtype=dtype, form=form, at_least=expected,
             quick=shape[0] == 64 and not more,
             label=f"step of {'-'.join(map(str, shape[1:]))}, batch {shape[0]}, {form}{more}")
        for dtype, more in (("float32", ""), ("float64", ", float64"))
        for (shape, form), expected in STEPS.items()
    )
)  # fmt: skip
def bench_step(side):
    """Time a step in a loop of one's own, or an epoch's part where whole epochs are trained."""
    side()
