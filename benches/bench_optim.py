"""One step of every optimizer that the library exports."""

from fastreg import optim
from fastreg.bench.plugin import compared
from fastreg.bench.work import SIZES, Work

TENSORS = {size: ((n,), 1) for size, n in SIZES.items()} | {"100×1K": ((SIZES["1K"],), 100)}
README = {("Adam", "100×1K"), ("Adam", "100K"), ("Adam", "25M"), ("NAdam", "1M")}
FUSED = ("Adam", "AdamW", "AdaGrad", "SGD", "Momentum")  # in torch, on a CPU


def expected(rule, size):
    """List what this rule should reach at this size."""
    if rule == "Adam":
        found = {"1K": [("torch fused", 40)], "100K": [("torch fused", 2.2)]}
        found |= {"100×1K": [("torch fused", 20), ("textbook", 25)], "25M": [("torch fused", 1)]}
        return tuple(found.get(size, ()))
    if size == "100×1K":
        torch = 35 if rule not in FUSED else 9 if rule in ("SGD", "Momentum") else 18
        return ("torch", torch), ("textbook", 25)
    return (("torch", 0.97 if rule in FUSED else 4),) if size == "25M" else ()


@compared(
    *(
        Work("update", rule, *TENSORS[size], dtype=dtype, label=f"{rule}, {size}{more}",
             quick=(rule, size) in README and dtype == "float32",
             at_least=expected(rule, size) if dtype == "float32" else ())
        for dtype, more in (("float32", ""), ("float64", ", float64"))
        for rule in optim.__all__
        for size in (["1M"] if more else TENSORS)
    ),
    *(
        Work("update", rule, TENSORS["25M"][0], form=form, label=f"{rule}, 25M, {form}",
             at_least=(("torch", factor),))
        for rule, form, factor in (
            ("Adam", "clip_norm", 1.2),
            ("AdamW", "prox+decay+clip+EMA", 4),
            ("Adam", "bfloat16 state", 1.35),
            ("Adam", "int8 state", 1.0),
        )
    ),
)  # fmt: skip
def bench_update(side):
    """Time a step on tensors that the optimizer knows already."""
    side()
