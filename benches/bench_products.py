"""Matrix products: squares, and every product of two networks' steps."""

import itertools

from fastreg.bench.plugin import compared
from fastreg.bench.work import Work

SQUARES = [32, 48, 64, 128, 256, 512, 1024, 2048]
NETWORKS = [(64, (64, 64, 32, 10)), (128, (784, 256, 128, 10)), (128, (784, 1024, 1024, 10))]


def products():
    """Yield form (n: as it lies, t: turned), and rows, columns and depth of every product."""
    yield from (("nn", (n, n, n)) for n in SQUARES)
    for batch, sizes in NETWORKS:
        for n_in, n_out in itertools.pairwise(sizes):
            yield "nn", (batch, n_out, n_in)  # X @ W
            yield "tn", (n_in, n_out, batch)  # X.T @ dZ
            if n_in != sizes[0]:
                yield "nt", (batch, n_in, n_out)  # dZ @ W.T


@compared(
    *(
        Work("product", "matmul", shape, dtype=dtype, form=form,
             label=f"matmul {form} {'×'.join(map(str, shape))}{more}",
             quick=form == "nn" and shape == (512,) * 3 and not more)
        for dtype, more in (("float32", ""), ("float64", ", float64"))
        for form, shape in dict.fromkeys(products())
    )
)  # fmt: skip
def bench_product(side):
    """Time a product into an array that is there."""
    side()
