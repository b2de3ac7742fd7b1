"""Valid calls of penalties and constraints."""

import numpy as np
from bad_values import floats, integer, number, weights
from calls import RATE, add, f32, setters
from calls_layers import out_like

import fastreg

W = {"W": (f32(4, 3), weights())}
ONE = {
    "W": (f32(4, 3), floats((4, 3), np.float32, whole=True)),
    "out": (f32(4, 3), out_like((4, 3))),
}
BOTH = {"W": ("out",), "weights": ("out",)}
GIVEN = {"weights": W["W"]}
add(
    "l1_regularization_loss", lambda: fastreg.l1_regularization_loss, lambda_l1=(0.1, RATE), **GIVEN
)
add(
    "l2_regularization_loss", lambda: fastreg.l2_regularization_loss, lambda_l2=(0.1, RATE), **GIVEN
)
add("l1_gradient", lambda: fastreg.l1_gradient, lambda_l1=(0.1, RATE), also=BOTH, **ONE)
add("l2_gradient", lambda: fastreg.l2_gradient, lambda_l2=(0.1, RATE), also=BOTH, **ONE)
add(
    "penalty_and_gradient",
    lambda: fastreg.penalty_and_gradient,
    lambda_l1=(0.1, RATE),
    lambda_l2=(0.1, RATE),
    weights=ONE["W"],
    out=ONE["out"],
    also=BOTH,
)
add("soft_threshold", lambda: fastreg.soft_threshold, threshold=(0.1, RATE), also=BOTH, **ONE)
add("ElasticNet", lambda: fastreg.ElasticNet, lambda_l1=(0.1, RATE), lambda_l2=(0.1, RATE))
setters("ElasticNet", fastreg.ElasticNet, lambda_l1=RATE, lambda_l2=RATE)
add("ElasticNet.value", lambda: fastreg.ElasticNet().value, **GIVEN)
add("ElasticNet.gradient", lambda: fastreg.ElasticNet().gradient, also=BOTH, **ONE)
add(
    "ElasticNet.value_and_gradient",
    lambda: fastreg.ElasticNet().value_and_gradient,
    weights=ONE["W"],
    out=ONE["out"],
    also=BOTH,
)
add("ElasticNet.prox", lambda: fastreg.ElasticNet().prox, step_size=(1.0, RATE), also=BOTH, **ONE)


def axes(value):
    if isinstance(value, tuple):
        return bool(value) and all(map(integer(), value))
    return integer()(value)


def with_axis(value):
    found = weights()(value)
    if isinstance(value, (bool, int, float, np.generic)) or getattr(value, "ndim", 1) == 0:
        return False
    return found


def one_axis(value):
    return integer(-2, 1)(value)


add("GroupLasso", lambda: fastreg.GroupLasso, lambda_group=(0.1, RATE), axis=(0, axes))
setters("GroupLasso", fastreg.GroupLasso, lambda_group=RATE, axis=axes)
for _name, _argument in (
    ("value", "weights"),
    ("gradient", "W"),
    ("value_and_gradient", "weights"),
):
    add(
        f"GroupLasso.{_name}",
        lambda name=_name: getattr(fastreg.GroupLasso(), name),
        also={_argument: ("axis",)},
        **{_argument: (f32(4, 3), with_axis)},
    )
add(
    "GroupLasso.prox",
    lambda: fastreg.GroupLasso().prox,
    also={"W": ("axis",)},
    W=(f32(4, 3), with_axis),
    step_size=(1.0, RATE),
)
_written = weights(written=True)


def scaled(value):
    """Arrays with axes that are scaled in place."""
    found = with_axis(value)
    return found if found is False else None if not _written(value) else found


add(
    "max_norm",
    lambda: fastreg.max_norm,
    max_value=(1.0, number(0.0, open_low=True)),
    weights=(f32(4, 3), scaled),
    axis=(0, one_axis),
    also={"weights": ("axis",)},
)
add(
    "unit_norm",
    lambda: fastreg.unit_norm,
    weights=(f32(4, 3), scaled),
    axis=(0, one_axis),
    also={"weights": ("axis",)},
)


def finite(value):
    found = weights()(value)
    return found and bool(not hasattr(value, "size") or np.isfinite(value).all())


add("near_zero", lambda: fastreg.near_zero, tol=(0.01, RATE), **GIVEN)
add(
    "weight_histogram",
    lambda: fastreg.weight_histogram,
    bins=(5, integer(1, 10)),
    weights=(f32(4, 3), finite),
)
