"""A finite input whose exact result is representable gives it, whatever its magnitude, silently.

One table over every public numeric callable: each entry runs it at one scale and compares it with
mpmath's number. Everything runs under ``np.errstate(all="raise")``: no harmless underflow and no
overflow on the way to a finite result may be seen by the caller.
"""

import math
import types

import harness
import mpmath
import numpy as np
import pytest
from ranges import CASES, SCALES, X0, close, exact, logistic
from test_range_layers import ACTIVATIONS, NORMS, normed

import fastreg
from fastreg import nn, optim
from fastreg._train.predict import probabilities
from fastreg.data import Standardizer, split

# Optimizers: what a first step takes from a parameter of 0 -------------------------------------

STEPS = {
    "SGD": lambda g, e: g * mpmath.mpf(0.1),
    "Momentum": lambda g, e: g * mpmath.mpf(0.1),
    "AdaGrad": lambda g, e: mpmath.mpf(0.1) * g / mpmath.sqrt(g * g + e),
    "RMSprop": lambda g, e: mpmath.mpf(0.1) * g / mpmath.sqrt((1 - mpmath.mpf(0.9)) * g * g + e),
    "Adam": lambda g, e: mpmath.mpf(0.1) * g / (abs(g) + e),
    "AdamW": lambda g, e: mpmath.mpf(0.1) * g / (abs(g) + e),
    "RAdam": lambda g, e: mpmath.mpf(0.1) * g,
    "Adamax": lambda g, e: mpmath.mpf(0.1) * g / (abs(g) + e),
    "Adadelta": lambda g, e: (
        mpmath.mpf(0.1) * g * mpmath.sqrt(e / ((1 - mpmath.mpf(0.9)) * g * g + e))
    ),
    "Lion": lambda g, e: mpmath.mpf(0.1) * mpmath.sign(g),
    "LAMB": lambda g, e: mpmath.mpf(0.1) * g / (abs(g) + e),
    "LARS": lambda g, e: mpmath.mpf(0.1) * g,
    "ScheduleFreeAdamW": lambda g, e: mpmath.mpf(0.1) * g / (abs(g) + e),
    "Adan": lambda g, e: mpmath.mpf(0.1) * g / (abs(g) + e),
}


def nadam_step(g, e):
    now = mpmath.mpf(0.9) * (1 - mpmath.mpf(0.96) ** mpmath.mpf(0.004) / 2)
    after = mpmath.mpf(0.9) * (1 - mpmath.mpf(0.96) ** (2 * mpmath.mpf(0.004)) / 2)
    blend = 1 + after * (1 - mpmath.mpf(0.9)) / (1 - now * after)
    return mpmath.mpf(0.1) * blend * g / (abs(g) + e)


def yogi_step(g, e):
    start, move = mpmath.mpf(1e-6), 1 - mpmath.mpf(0.999)
    v = start - move * mpmath.sign(start - g * g) * g * g
    return mpmath.mpf(0.1) * g / (mpmath.sqrt(v / move) + e)


STEPS |= {"NAdam": nadam_step, "Yogi": yogi_step}
HAS_EPSILON = {"AdaGrad", "RMSprop", "Adam", "AdamW", "RAdam", "Adamax", "Adadelta", "NAdam"}
HAS_EPSILON |= {"Yogi", "Adan", "LAMB", "ScheduleFreeAdamW"}


@pytest.mark.parametrize(("dtype", "scale"), CASES)
@pytest.mark.parametrize("tiny", [False, True], ids=["epsilon", "no epsilon"])
@pytest.mark.parametrize("rule", sorted(STEPS))
def test_first_steps(rule, dtype, scale, tiny):
    if tiny and rule not in HAS_EPSILON - {"Adadelta"}:
        pytest.skip("has no epsilon, or is 0 without one")
    epsilon = 0.0 if tiny else 1e-8
    options = {"epsilon": epsilon} if rule in HAS_EPSILON else {}
    g, p = np.array([scale, -scale], dtype), np.zeros(2, dtype)
    optimizer = getattr(optim, rule)(0.1, **options)
    with np.errstate(all="raise"):
        optimizer.update([p], [g])
    few = scale < 1e-36 and dtype == np.float32  # (1 - beta1) g has lost digits of its own
    close(-p, [STEPS[rule](x, mpmath.mpf(epsilon)) for x in exact(g)], dtype, 3e5 if few else 64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", sorted(STEPS))
def test_first_steps_with_the_largest_number(rule, dtype):
    top = np.finfo(dtype).max
    g, p = np.array([top, -top]), np.zeros(2, dtype)
    with np.errstate(all="raise"):
        options = {"epsilon": 1e-8} if rule in HAS_EPSILON else {}
        getattr(optim, rule)(0.1, **options).update([p], [g])
    close(-p, [STEPS[rule](x, mpmath.mpf(1e-8)) for x in exact(g)], dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nadam_in_optax_s_form_takes_the_largest_number(dtype):
    p, optimizer = np.zeros(2, dtype), optim.NAdam(0.1, epsilon=0.0, compat="optax")
    with np.errstate(all="raise"):
        optimizer.update([p], [np.array([np.finfo(dtype).max, 1.0], dtype)])
    np.testing.assert_allclose(p[0], p[1], rtol=64 * np.finfo(dtype).eps)


@pytest.mark.parametrize(("dtype", "scale"), [(np.float32, 1e30), (np.float64, 1e250)])
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: optim.Adam(0.1),
        lambda: optim.Adam(0.1, amsgrad=True),
        lambda: optim.NAdam(0.1),
        lambda: optim.RAdam(0.1),
        lambda: optim.RMSprop(0.1),
        lambda: optim.RMSprop(0.1, centered=True),
        lambda: optim.RMSprop(0.1, momentum=0.9),
        lambda: optim.RMSprop(0.1, centered=True, momentum=0.9),
        lambda: optim.AdaGrad(0.1),
        lambda: optim.Yogi(0.1),
        lambda: optim.Adan(0.1),
    ],
)
def test_later_steps_do_not_depend_on_the_gradients_scale(optimizer, dtype, scale):
    """With gradients so large that their squares have no place in the state either."""
    power = 2.0 ** round(math.log2(scale))
    if isinstance(optimizer(), optim.RAdam):
        pytest.skip("its first steps are proportional to the gradient")
    draws = np.random.default_rng(0).normal(size=(12, 5))
    paths = []
    for unit in (power / 2**10, power):
        p, taken = np.zeros(5, dtype), optimizer()
        for g in draws:
            taken.update([p], [(g * unit).astype(dtype)])
        paths.append(p)
    np.testing.assert_allclose(paths[0], paths[1], rtol=64 * np.finfo(dtype).eps)
    assert np.isfinite(paths[1]).all() and (paths[1] != 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adan_s_difference_of_gradients_may_be_twice_the_largest_number(dtype):
    top = float(np.finfo(dtype).max)
    p, optimizer = np.zeros(2, dtype), optim.Adan(0.1, epsilon=0.0)
    with np.errstate(all="raise"):
        for sign in (1, -1):
            optimizer.update([p], [np.array([sign * top, sign], dtype)])
    assert np.isfinite(optimizer.v[0]).all()
    np.testing.assert_allclose(p[0], p[1], rtol=64 * np.finfo(dtype).eps)


@pytest.mark.parametrize(("dtype", "scale"), CASES)
def test_clip_norm(dtype, scale):
    g, p = (X0 * min(scale, float(np.finfo(dtype).max) / 4)).astype(dtype), np.zeros((4, 3), dtype)
    optimizer = optim.SGD(1.0, clip_norm=1e-30 * scale if dtype == np.float32 else 1e-3 * scale)
    with np.errstate(all="raise"):
        optimizer.update([p], [g])
    wide = exact(g)
    norm = mpmath.sqrt((wide * wide).sum())
    close(-p, wide / norm * mpmath.mpf(optimizer._updater.clip_norm), dtype)
    close(optimizer.grad_norm, norm, np.float64)


# Activations and losses -------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "scale"), [*CASES, *((t, 20.0) for t in SCALES)])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_softmax_cross_entropy(dtype, scale, label):
    top = float(np.finfo(dtype).max) / 4
    z = (np.array([[1.0, -1.0, 0.25]]) * min(scale, top)).astype(dtype)
    with np.errstate(all="raise"):
        value, dz = nn.softmax_cross_entropy(z, np.array([label]))
        p = probabilities(z, "softmax")
    away = exact(z)[0] - exact(z)[0].max()
    e = [mpmath.exp(max(d, -1e4)) for d in away]
    rest = sum(e) - 1
    close(value, mpmath.log1p(rest) - away[label], dtype)
    others = sum(e) - e[label]
    wanted = [x / sum(e) for x in e]
    close(p, [wanted], dtype)
    wanted[label] = -others / sum(e)
    close(dz, [wanted], dtype)


@pytest.mark.parametrize(("dtype", "scale"), [*CASES, *((t, 20.0) for t in SCALES)])
@pytest.mark.parametrize("target", [0.0, 1.0, 0.25])
def test_binary_cross_entropy(dtype, scale, target):
    z = np.array([[scale], [-scale]], dtype)
    with np.errstate(all="raise"):
        value, dz = nn.binary_cross_entropy(z, np.full((2, 1), target))
        p = probabilities(z, "sigmoid")
    t, losses, gradients = mpmath.mpf(target), [], []
    for x in exact(z)[:, 0]:
        e = mpmath.exp(-min(abs(x), 1e4))
        losses.append(abs(x) * (1 - t if x > 0 else t) + mpmath.log1p(e))
        sign = 1 if x > 0 else -1
        away, near = (1 - t, t) if x > 0 else (t, 1 - t)
        gradients.append(sign * (away - near * e) / (1 + e) / 2)
    close(value, sum(losses) / 2, dtype)
    close(dz[:, 0], gradients, dtype)
    close(p, [[logistic(-x), logistic(x)] for x in exact(z)[:, 0]], dtype)


@pytest.mark.parametrize(("dtype", "scale"), CASES)
def test_mse(dtype, scale):
    y = (X0 * min(scale, float(np.finfo(dtype).max) / 2.5)).astype(dtype)
    t = (-y).astype(dtype)
    with np.errstate(all="raise", over="ignore"):
        value, dy = nn.mse(y, t)
    difference = exact(y) - exact(t)
    close(value, (difference * difference).sum() / y.size, np.float64, 2**30)
    close(dy, 2 * difference / y.size, dtype)


@pytest.mark.parametrize(("dtype", "scale"), CASES)
@pytest.mark.parametrize("name", ["mae", "huber", "quantile"])
def test_losses_of_distances(name, dtype, scale):
    y = (X0 * min(scale, float(np.finfo(dtype).max) / 2.5)).astype(dtype)
    t = (-y).astype(dtype)
    delta = dtype(float(np.abs(y).max()))
    options = {"huber": {"delta": float(delta)}, "quantile": {"q": 0.25}}.get(name, {})
    with np.errstate(all="raise"):
        value, dy = getattr(nn, name)(y, t, **options)
    d = (exact(y) - exact(t)).ravel()
    edge = mpmath.mpf(float(delta))
    if name == "mae":
        losses, slopes = [abs(x) for x in d], [mpmath.sign(x) for x in d]
    elif name == "quantile":
        losses = [x * 3 / 4 if x > 0 else -x / 4 for x in d]
        slopes = [mpmath.mpf(0.75 if x > 0 else -0.25 if x < 0 else 0) for x in d]
    else:
        losses = [x * x / 2 if abs(x) <= edge else edge * (abs(x) - edge / 2) for x in d]
        slopes = [min(max(x, -edge), edge) for x in d]
    close(value, sum(losses) / len(d), np.float64, 2**30)
    close(dy.ravel(), [x / len(d) for x in slopes], dtype)


@pytest.mark.parametrize(("dtype", "scale"), CASES)
def test_poisson(dtype, scale):
    t = (np.abs(X0) * min(scale, float(np.finfo(dtype).max) / 4)).astype(dtype)
    z = np.full(t.shape, -0.5, dtype)
    with np.errstate(all="raise"):
        value, dz = nn.poisson(z, t)
    mean = mpmath.exp(mpmath.mpf(-0.5))
    close(value, sum(mean + x / 2 for x in exact(t).ravel()) / t.size, dtype)
    close(dz.ravel(), [(mean - x) / t.size for x in exact(t).ravel()], dtype)


@pytest.mark.parametrize(("dtype", "scale"), [*CASES, *((t, 20.0) for t in SCALES)])
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_focal(dtype, scale, target):
    z = np.array([[scale]], dtype)
    with np.errstate(all="raise"):
        value, dz = nn.focal(z, [target], gamma=1.0, alpha=None)
    u = exact(z)[0, 0] * (1 if target else -1)
    u = min(max(u, -mpmath.mpf(1e5)), mpmath.mpf(1e5)) if abs(u) > 1e5 and u > 0 else u
    e = mpmath.exp(-min(abs(u), mpmath.mpf(1e4)))
    p, q = (1 / (1 + e), e / (1 + e)) if u > 0 else (e / (1 + e), 1 / (1 + e))
    surprise = mpmath.log1p(e) + (0 if u > 0 else -u)
    near = mpmath.log1p(e) + (0 if u > 0 else min(-u, mpmath.mpf(1e4)))
    close(value, q * surprise, np.float64, 2**10)
    close(dz[0, 0], -q * (q + p * near) * (1 if target else -1), dtype, 2**10)


# Penalties, constraints, data -------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "scale"), CASES)
def test_penalties(dtype, scale):
    w = (X0 * min(scale, float(np.finfo(dtype).max) / 4)).astype(dtype)
    wide, strength = exact(w), 2.0**-10 / scale
    size, square = sum(abs(x) for x in wide.ravel()), (wide * wide).sum()
    with np.errstate(all="raise"):
        close(fastreg.l1_regularization_loss(w, strength), strength * size, np.float64)
        close(fastreg.l2_regularization_loss(w, strength), strength * square / 2, np.float64)
        both = fastreg.penalty_and_gradient(w, lambda_l1=strength, lambda_l2=strength)[0]
        close(both, strength * (size + square / 2), np.float64)
        close(fastreg.ElasticNet(strength, strength).value(w), both, np.float64)
        close(
            fastreg.l1_gradient(w, 0.5), [[mpmath.sign(x) / 2 for x in row] for row in wide], dtype
        )
        close(fastreg.l2_gradient(w, 0.5), wide / 2, dtype)
        zero = fastreg.soft_threshold(w, float(abs(w).max()))
        assert (zero == 0).all()
        norms = [mpmath.sqrt((column * column).sum()) for column in wide.T]
        lasso = fastreg.GroupLasso(0.5)
        close(lasso.value(w), sum(norms), np.float64, 2**30 if dtype == np.float32 else 64)
        unit = wide / np.array(norms)
        close(lasso.gradient(w), unit, dtype)
        close(fastreg.unit_norm(w.copy()), unit, dtype)
        limit = float(norms[0]) / 1024
        close(fastreg.max_norm(w.copy(), limit), unit * mpmath.mpf(limit), dtype)
        assert fastreg.near_zero(w, float(abs(w).max()) / 2).count == (
            abs(w) < dtype(float(abs(w).max()) / 2)).sum()  # fmt: skip


IN_PLACE = {
    "l1_gradient": lambda w, out: fastreg.l1_gradient(w, 0.5, out=out),
    "l2_gradient": lambda w, out: fastreg.l2_gradient(w, 0.5, out=out),
    "soft_threshold": lambda w, out: fastreg.soft_threshold(w, 0.5, out=out),
    "penalty_and_gradient": lambda w, out: fastreg.penalty_and_gradient(
        w, lambda_l1=0.5, lambda_l2=0.25, out=out
    ),
    "ElasticNet.gradient": lambda w, out: fastreg.ElasticNet().gradient(w, out=out),
    "ElasticNet.prox": lambda w, out: fastreg.ElasticNet().prox(w, out=out),
    "ElasticNet.value_and_gradient": lambda w, out: fastreg.ElasticNet(
        0.5, 0.25
    ).value_and_gradient(w, out=out),
    **{name: lambda x, out, name=name: infer(name).forward(x, out=out) for name in NORMS},
    **{
        f"{name}.backward": lambda x, out, name=name: trained(name, x).backward(x, out=out)
        for name in NORMS
    },
    "Dropout": lambda x, out: fastreg.Dropout(0.5, rng=0).forward(x, out=out),
    "AlphaDropout": lambda x, out: fastreg.AlphaDropout(0.5, rng=0).forward(x, out=out),
}


def infer(name):
    layer = NORMS[name][0](1e-5)
    if name == "BatchNorm":
        layer.running_mean[:], layer.running_var[:] = 1e150, 1e300
    layer.eval()
    return layer


def trained(name, like):
    layer = NORMS[name][0](1e-5)
    layer.forward(X0.reshape(like.shape).astype(like.dtype))
    return layer


@pytest.mark.parametrize(("dtype", "scale"), CASES)
@pytest.mark.parametrize("name", sorted(IN_PLACE))
def test_a_result_written_over_its_input_is_the_same(name, dtype, scale):
    """Also where the range is left and the input would be read a second time."""
    x = (X0 * min(scale, float(np.finfo(dtype).max) / 4)).astype(dtype)
    x = x[None] if name.startswith("InstanceNorm") else x
    wanted, found = IN_PLACE[name](x, None), IN_PLACE[name](x, x)
    for a, b in zip(*(r if isinstance(r, tuple) else (r,) for r in (wanted, found)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_value_is_that_of_the_weights_whatever_is_written_over():
    """Read through a view that is not contiguous, named in another order, in several arrays."""
    buffer, small = np.asfortranarray([[3e160, 4e160], [1.0, 2.0]]), np.array([1e-200, 2.0])
    weights, out = {"a": buffer, "b": small}, {"b": np.empty(2), "a": buffer.T}
    wanted = fastreg.penalty_and_gradient(weights, lambda_l2=1e-200)
    found = fastreg.penalty_and_gradient(weights, lambda_l2=1e-200, out=out)
    np.testing.assert_allclose(wanted[0], 1.25e121, rtol=1e-15)
    assert found[0] == wanted[0]
    for key in "ab":
        np.testing.assert_array_equal(found[1][key], wanted[1][key])


@pytest.mark.parametrize("weights", [[np.inf, np.nan, 1.0], [[np.nan, np.inf], [-np.inf, 0.0]]])
def test_a_strength_of_0_leaves_its_penalty_out(weights, dtype):
    w = np.array(weights, dtype)
    net, lasso = fastreg.ElasticNet(0, 0), fastreg.GroupLasso(0.0)
    assert fastreg.penalty_and_gradient(w)[0] == net.value(w) == lasso.value(w) == 0.0
    assert fastreg.l1_regularization_loss(w, 0) == fastreg.l2_regularization_loss(w, 0) == 0.0
    for gradient in (
        fastreg.penalty_and_gradient(w)[1],
        net.gradient(w),
        net.value_and_gradient(w)[1],
        fastreg.l1_gradient(w, 0),
        fastreg.l2_gradient(w, 0),
        lasso.gradient(w),
    ):
        assert (gradient == 0).all()
    for same in (net.prox(w), lasso.prox(w), fastreg.soft_threshold(w, 0), lasso.prox(w, 0.0)):
        np.testing.assert_array_equal(same, w)
    p, g = w.copy(), np.ones_like(w)
    optimizer = optim.Momentum(0.5, clip_value=2.0, lambda_l1=0.0, lambda_l2=0.0, weight_decay=0.0)
    optimizer.update([p], [g])
    np.testing.assert_array_equal(p, w - dtype(0.5))
    assert (optimizer.v[0] == 1).all()


def test_a_share_of_0_leaves_an_infinity_out():
    optimizer, p = optim.SGD(1.0, ema_decay=0.0), [np.array([np.inf, 1.0])]
    optimizer.update(p, [np.array([0.0, 1.0])])
    p[0][:] = 5.0
    optimizer.update(p, [np.array([1.0, 1.0])])
    np.testing.assert_array_equal(optimizer.ema[0], [4.0, 4.0])
    layer = fastreg.BatchNorm(1, momentum=0.0)
    layer.running_mean[:] = layer.running_var[:] = np.inf
    layer.forward(np.array([[1.0], [3.0]]))
    assert layer.running_mean[0, 0] == 2.0 and layer.running_var[0, 0] == 1.0


@pytest.mark.parametrize("scale", [10.0**k for k in range(-300, 301, 50)])
def test_standardisation(scale):
    X = X0 * scale
    unit, _, _ = normed(X, 0.0, 0)
    with np.errstate(all="raise"):
        standardizer = Standardizer(X)
        close(standardizer(X), unit, np.float32, slack=1e-2)
        data = split("sizes", X, np.arange(4), validation=0, test=0, rng=0)
    close(data.X_train, unit, np.float32, slack=1e-2)
    assert (Standardizer(np.full((3, 1), scale))(np.full((3, 1), scale)) == 0).all()


# Every public callable is above, or here with the reason it need not be --------------------------

SWEPT_WITH_SCHEDULES = {  # in test_range_study.py
    "bias_variance", "cosine_annealing", "diagnose", "step_decay", "warmup_cosine",
    "warmup_schedule",
}  # fmt: skip
SWEPT = {
    *STEPS, *NORMS, *ACTIVATIONS, "ElasticNet", "GroupLasso", "l1_gradient",
    "l1_regularization_loss", "l2_gradient", "l2_regularization_loss", "max_norm", "near_zero",
    "penalty_and_gradient", "soft_threshold", "unit_norm", "binary_cross_entropy", "mse",
    "softmax_cross_entropy", "mae", "huber", "quantile", "poisson", "focal", *SWEPT_WITH_SCHEDULES,
}  # fmt: skip
NO_RANGE = {
    "Optimizer": "the base class of those above",
    "AlphaDropout": "multiplies and adds once",
    "DropConnect": "multiplies once",
    "Dropout": "multiplies once",
    "GaussianDropout": "multiplies once",
    "SpatialDropout": "multiplies once",
    "StochasticDepth": "multiplies once",
    "EarlyStopping": "compares",
    "ReduceOnPlateau": "compares",
    "compare_optimizers": "runs optimizers",
    "weight_histogram": "counts",
    "empty_cache": "no numbers",
    "get_num_threads": "no numbers",
    "num_threads": "no numbers",
    "products": "no numbers",
    "set_num_threads": "no numbers",
    "show_config": "no numbers",
    "Dense": "a product and a sum, as NumPy's",
    "Sequential": "runs layers",
    "mlp": "makes layers",
    "matmul": "a chain of multiply-adds, whose order is the result",
}


def test_every_public_callable_is_swept_or_excused():
    public = {
        name
        for module in (fastreg, nn)
        for name in module.__all__
        if callable(getattr(module, name))
        and not isinstance(getattr(module, name), types.ModuleType)
    }
    public -= {name for name in optim.__all__ if not harness.in_a_library(name)}
    assert public == SWEPT | set(NO_RANGE)
    assert not SWEPT & set(NO_RANGE)
