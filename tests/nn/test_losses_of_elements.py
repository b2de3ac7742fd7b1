"""The losses of one output and its target: bits of twins, torch's values, exact ones, ends."""

import functools
import pickle
import warnings

import harness
import mpmath
import numpy as np
import pytest
from harness import finite_difference, same_bits

import fastreg
from fastreg import nn, reference, train

#: Loss, targets by their shape, and arguments.
LOSSES = {
    "mae": (nn.mae, lambda rng, s: rng.normal(size=s), {}),
    "huber": (nn.huber, lambda rng, s: rng.normal(size=s), {"delta": 0.7}),
    "quantile": (nn.quantile, lambda rng, s: rng.normal(size=s), {"q": 0.3}),
    "poisson": (nn.poisson, lambda rng, s: rng.poisson(2.0, s), {}),
    "focal": (nn.focal, lambda rng, s: rng.integers(0, 2, s), {"gamma": 1.5}),
    "plain focal": (nn.focal, lambda rng, s: rng.integers(0, 2, s), {"gamma": 0, "alpha": None}),
}
every = pytest.mark.parametrize(("loss", "draw", "options"), LOSSES.values(), ids=LOSSES)


def twin(loss):
    return getattr(reference, loss.__name__)


@every
@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (63, 17), (2, 3000), (2100, 17)], ids=str)
def test_losses_have_the_bits_of_their_twins(
    loss, draw, options, shape, dtype, level, threads, guarded, rng
):
    outputs = guarded((3 * rng.normal(size=shape)).astype(dtype), offset=1)
    targets = guarded(draw(rng, shape).astype(dtype))
    for weights in (None, rng.uniform(0, 2, shape[0])):
        value, gradient = loss(outputs, targets, sample_weight=weights, **options)
        expected, slopes = twin(loss)(outputs, targets, sample_weight=weights, **options)
        same_bits(gradient, slopes)
        assert value == pytest.approx(expected, rel=1e-13)
        with harness.serial_base():
            assert loss(outputs, targets, sample_weight=weights, **options)[0] == value


@every
def test_special_values_have_the_bits_of_their_twins(loss, draw, options, dtype, level):
    specials = harness.specials(dtype)
    low = 0 if loss in (nn.poisson, nn.focal) else -np.inf
    high = 1 if loss is nn.focal else np.inf
    targets = specials[(specials >= low) & (specials <= high) & np.isfinite(specials)]
    targets = targets[(targets == 0) | (targets == 1)] if loss is nn.focal else targets
    z, t = (a.ravel()[:, None].copy() for a in np.meshgrid(specials, targets))
    with np.errstate(all="raise"):
        found = [loss(z[[i]], t[[i]], **options) for i in range(len(z))]
    with np.errstate(all="ignore"):
        wanted = [twin(loss)(z[[i]], t[[i]], **options) for i in range(len(z))]
    same_bits(np.vstack([g for _, g in found]), np.vstack([g for _, g in wanted]))
    values, exact = np.array([v for v, _ in found]), np.array([v for v, _ in wanted])
    inside = np.isfinite(exact)
    np.testing.assert_array_equal(np.isnan(values), np.isnan(z[:, 0]))
    np.testing.assert_allclose(values[inside], exact[inside], rtol=1e-15)


def by_torch(loss, z, t, options):
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    if loss is nn.mae:
        return f.l1_loss(z, t)
    if loss is nn.huber:
        return f.huber_loss(z, t, delta=options["delta"])
    if loss is nn.quantile:
        return torch.maximum(options["q"] * (t - z), (options["q"] - 1) * (t - z)).mean()
    if loss is nn.poisson:
        return f.poisson_nll_loss(z, t)
    ce = f.binary_cross_entropy_with_logits(z, t, reduction="none")  # torchvision's formula
    p_t = torch.exp(-ce)
    alpha = options.get("alpha", 0.25)
    weight = 1.0 if alpha is None else alpha * t + (1 - alpha) * (1 - t)
    return (weight * ce * (1 - p_t) ** options["gamma"]).mean()


@every
def test_losses_are_torchs(loss, draw, options, fixed_rng):
    torch = pytest.importorskip("torch")
    outputs, targets = 2 * fixed_rng.normal(size=(50, 3)), draw(fixed_rng, (50, 3)).astype(float)
    z = torch.tensor(outputs, requires_grad=True)
    wanted = by_torch(loss, z, torch.tensor(targets), options)
    wanted.backward()
    value, gradient = loss(outputs, targets, **options)
    assert value == pytest.approx(wanted.item(), rel=1e-14)
    np.testing.assert_allclose(gradient, z.grad.numpy(), rtol=1e-12, atol=1e-17)


@every
def test_gradients_are_finite_differences(loss, draw, options, fixed_rng):
    outputs, targets = fixed_rng.normal(size=(7, 3)), draw(fixed_rng, (7, 3))
    for weights in (None, fixed_rng.uniform(0, 2, 7)):
        call = functools.partial(loss, targets=targets, sample_weight=weights, **options)
        slope = finite_difference(lambda call=call: call(outputs)[0], outputs)
        np.testing.assert_allclose(call(outputs)[1], slope, atol=1e-8)


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_is_exact(target, gamma, dtype, level):
    """To 4 ulp and half an ulp of the exponent, whose rounding the power cannot avoid."""
    z = np.concatenate([np.linspace(-40, 40, 81), [-80.0, 1e-3, -1e-30, 80.0]]).astype(dtype)
    info = np.finfo(dtype)
    with mpmath.workprec(200):
        for x in z:
            u = mpmath.mpf(float(x)) * (1 if target else -1)
            p, q = 1 / (1 + mpmath.exp(-u)), 1 / (1 + mpmath.exp(u))
            value, slope = nn.focal(np.array([[x]]), [target], gamma=gamma, alpha=None)
            exact = -(q**gamma) * mpmath.log(p)
            steep = -(q**gamma) * (q - gamma * p * mpmath.log(p)) * (1 if target else -1)
            double = (6 - gamma * mpmath.log(q)) * 2.0**-52  # both are computed in double
            assert abs(value - exact) <= double * abs(exact) + 1e-300
            allowed = (double + float(info.eps) / 2) * abs(steep)
            assert abs(mpmath.mpf(float(slope[0, 0])) - steep) <= allowed + info.smallest_subnormal


def test_poisson_is_exact(dtype, level, fixed_rng):
    """The exponential to 2 ulp; what is subtracted, exactly."""
    z = fixed_rng.uniform(-20, 20, 200).astype(dtype)
    t = fixed_rng.poisson(3.0, 200).astype(dtype)
    eps = float(np.finfo(dtype).eps)
    for x, n in zip(z.tolist(), t.tolist(), strict=True):
        value, slope = nn.poisson(np.array([[x]], dtype), [n])
        mean = mpmath.exp(mpmath.mpf(x))
        assert abs(value - (mean - n * x)) <= 2 * eps * mean + 2.0**-52 * (mean + abs(n * x))
        assert abs(float(slope[0, 0]) - (mean - n)) <= 2 * eps * mean + eps * abs(mean - n)


@pytest.mark.parametrize("loss", [nn.mae, nn.huber, nn.quantile, nn.mse])
def test_targets_at_the_other_end_of_the_range_give_a_finite_mean(loss, level):
    far = 1e308 if loss is not nn.mse else 1e153
    outputs, targets = np.full((4, 1), far), np.full((4, 1), -far)
    outputs[1:] = targets[1:] = 0.0
    value, gradient = loss(outputs, targets)
    wanted = {nn.mae: far / 2, nn.huber: far / 2, nn.quantile: far / 4, nn.mse: far * far}[loss]
    assert value == pytest.approx(wanted, rel=1e-15) and np.isfinite(gradient).all()


@pytest.mark.parametrize("loss", [nn.mse, nn.mae, nn.huber, nn.quantile, nn.poisson, nn.focal])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_outputs_that_are_not_finite_are_no_warning(loss, bad, dtype):
    outputs = np.array([[1.0], [bad]], dtype)
    for weight in (None, [1.0, 0.0]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loss(outputs, [1, 0], sample_weight=weight)


def test_focal_without_gamma_and_alpha_is_binary_cross_entropy(rng):
    z, t = rng.normal(size=(20, 3)), rng.integers(0, 2, (20, 3))
    value, gradient = nn.focal(z, t, gamma=0.0, alpha=None)
    wanted, slopes = nn.binary_cross_entropy(z, t)
    assert value == pytest.approx(wanted, rel=1e-14)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-13)


def test_a_constant_finds_median_quantile_and_mean():
    y = np.array([0.0, 1.0, 2.0, 10.0, 50.0])
    for loss, wanted in [
        (nn.mae, 2.0),
        (functools.partial(nn.quantile, q=0.7), 10.0),
        (functools.partial(nn.huber, delta=1e9), y.mean()),
        (nn.poisson, y.mean()),
    ]:
        run = train.Trainer(
            nn.mlp([1, 1], dtype="float64", rng=0), loss,
            fastreg.Adam(fastreg.schedule.cosine(0.5, 3000)), rng=0, progress=False,
        )  # fmt: skip
        run.fit(np.zeros((5, 1)), y, epochs=3000, batch_size=5)
        assert run.predict(np.zeros((1, 1)))[0] == pytest.approx(wanted, abs=1e-3)


BAD = [
    (lambda: nn.huber(np.zeros((1, 1)), [0.0], delta=0.0), "huber: delta must be"),
    (lambda: nn.quantile(np.zeros((1, 1)), [0.0], q=1.0), "quantile: q must be"),
    (lambda: nn.poisson(np.zeros((1, 1)), [-1.0]), "poisson: targets must be finite and at least"),
    (lambda: nn.poisson(np.zeros((1, 1)), [np.nan]), "poisson: targets must be finite"),
    (lambda: nn.focal(np.zeros((1, 1)), [0.5]), "focal: targets must be 0 or 1, got 0.5"),
    (lambda: nn.focal(np.zeros((1, 1)), [1], gamma=-1), "focal: gamma must be"),
    (lambda: nn.focal(np.zeros((1, 1)), [1], alpha=1), "focal: alpha must be"),
    (lambda: nn.mae(np.zeros((2, 2)), np.zeros(2)), "mae: targets must have shape"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("loss", nn.losses.__all__)
def test_a_trainer_takes_a_loss_by_name_or_as_an_object_and_resumes_it(loss, tmp_path, rng):
    X = rng.normal(size=(40, 3)).astype("f4")
    y = rng.integers(0, 2, (40, 2))
    y = y.argmax(axis=1) if loss == "softmax_cross_entropy" else y
    function = pickle.loads(pickle.dumps(functools.partial(getattr(nn, loss))))

    def run(given):
        model = nn.mlp([3, 4, 2], rng=0)
        return train.Trainer(model, given, fastreg.Adam(), rng=0, progress=False)

    one, other = run(loss), run(function)
    one.fit(X, y, epochs=2)
    one.save(tmp_path / "run.ckpt")
    other.fit(X, y, epochs=4, resume_from=tmp_path / "run.ckpt")
    whole = run(loss)
    whole.fit(X, y, epochs=4)
    harness.same_states(other.model.state_dict(), whole.model.state_dict())
    outputs, found = whole.model.forward(X), whole.predict(X)
    link = getattr(nn, loss).link
    wanted = {"identity": outputs, "log": np.exp(outputs), "sigmoid": outputs > 0}
    wanted = outputs.argmax(axis=1) if link == "softmax" else wanted[link]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_another_parameter_of_a_loss_is_refused_by_a_saved_run(tmp_path):
    X, y = np.zeros((4, 1), "f4"), np.ones(4)

    def run(delta):
        loss = functools.partial(nn.huber, delta=delta)
        return train.Trainer(nn.mlp([1, 1], rng=0), loss, fastreg.Adam(), rng=0, progress=False)

    first = run(1.0)
    first.fit(X, y, epochs=1)
    first.save(tmp_path / "run.ckpt")
    with pytest.raises(fastreg.checkpoint.CheckpointError, match=r"loss.delta was 1.0, not 0.5"):
        run(0.5).load(tmp_path / "run.ckpt")


def test_names_that_are_no_losses_are_refused():
    for call in (
        lambda: train.Trainer(nn.mlp([1, 1]), "hinge", fastreg.Adam()),
        lambda: train.evaluate(nn.mlp([1, 1]), "hinge", [[0.0]], [0.0]),
    ):
        with pytest.raises(ValueError, match=r"loss must be a function or one of .*huber.*'hinge'"):
            call()


def test_counts_below_zero_are_refused_before_training():
    run = train.Trainer(nn.mlp([1, 1]), "poisson", fastreg.Adam(), progress=False)
    with pytest.raises(ValueError, match="y must be from 0 to inf, got -1"):
        run.fit(np.zeros((2, 1)), [-1, 2], epochs=1)


def test_a_share_that_float32_cannot_hold_keeps_its_digits(level):
    """A difference of 1e20 with a share of 1e-42."""
    outputs, targets = np.array([[1e20], [1.0]], np.float32), np.zeros((2, 1), np.float32)
    _, gradient = nn.mse(outputs, targets, sample_weight=np.array([1e-42, 1.0]))
    np.testing.assert_allclose(gradient.ravel(), [2e-22, 2.0], rtol=1e-6)
