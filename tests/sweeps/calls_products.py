"""Valid calls of matrix products."""

import numpy as np
from bad_values import floats, one_of
from calls import add, f32
from calls_layers import out_like

import fastreg


def with_products():
    def enter(whose):
        with fastreg.products(whose):
            pass

    return enter


add("products", with_products, whose=("blas", lambda v: v is None or one_of("own", "blas")(v)))
add(
    "matmul",
    lambda: fastreg.matmul,
    a=(f32(4, 3), floats((4, 3), np.float32, whole=True)),
    b=(f32(3, 2), floats((3, 2), np.float32, whole=True)),
    out=(f32(4, 2), out_like((4, 2))),
    also={"a": ("out",), "b": ("out",)},
)
