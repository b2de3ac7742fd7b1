"""Norms, activations and Dense in training: forward, and forward and backward."""

from fastreg.bench.plugin import compared
from fastreg.bench.work import Work

IMAGES = (32, 64, 56, 56)
SHAPES = {
    "BatchNorm": [(64, 128), (256, 1024), (4096, 1024), (65536, 256), IMAGES],
    "LayerNorm": [(64, 128), (16384, 64), (4096, 1024), (65536, 256)],
    "RMSNorm": [(64, 128), (65536, 256)],
    "GroupNorm": [IMAGES],
    "InstanceNorm": [IMAGES],
    "Dense": [(128, 256), (512, 1024)],
    **dict.fromkeys(("ReLU", "LeakyReLU", "Tanh", "Sigmoid", "GELU"), [(64, 128), (4096, 1024)]),
}
README = {("BatchNorm", (65536, 256)), ("LayerNorm", (65536, 256))}
EXPECTED = {
    ("BatchNorm", "forward+backward", (64, 128)): 6,
    ("BatchNorm", "forward+backward", (256, 1024)): 2.5,
    ("BatchNorm", "forward+backward", (4096, 1024)): 2.5,
    ("BatchNorm", "forward+backward", (65536, 256)): 1.1,
    ("LayerNorm", "forward+backward", (4096, 1024)): 1.3,
    ("LayerNorm", "forward+backward", (65536, 256)): 1.1,
    ("GELU", "forward+backward", (4096, 1024)): 1.5,
    ("Tanh", "forward+backward", (4096, 1024)): 1.5,
    ("Sigmoid", "forward+backward", (4096, 1024)): 1.5,
}


def works(dtype, more):
    """Yield every layer, shape and form; of float64 one shape."""
    for name, shapes in SHAPES.items():
        for shape in [shapes[len(shapes) // 2]] if more else shapes:
            for form in ("forward", "forward+backward"):
                factor = EXPECTED.get((name, form, shape)) if dtype == "float32" else None
                yield Work(
                    "layer", name, shape, dtype=dtype, form=form,
                    label=f"{name} {form.replace('+', ' + ')}, {'×'.join(map(str, shape))}{more}",
                    quick=(name, shape) in README and form != "forward" and dtype == "float32",
                    at_least=(("torch", factor),) if factor else (),
                )  # fmt: skip


@compared(*works("float32", ""), *works("float64", ", float64"))
def bench_layer(side):
    """Time a pass that makes its output, or both passes of a training step."""
    side()
