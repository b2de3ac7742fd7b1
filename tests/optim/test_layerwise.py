"""LAMB and LARS: a rate per tensor, by norms that are sums in one order."""

import harness
import numpy as np
import pytest
from harness import step

from fastreg import LAMB, LARS, num_threads, optim, reference

RULES = ("LAMB", "LARS")


def by_hand(rule, theta, grads, *, rate, decay):
    """The formulas of the docstrings, in float64."""
    m = v = 0.0
    for t, g in enumerate(grads, 1):
        if rule == "LAMB":
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            u = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6) + decay * theta
            theta = theta - rate * np.linalg.norm(theta) / np.linalg.norm(u) * u
        else:
            u = g + decay * theta
            v = 0.9 * v + rate * 1e-3 * np.linalg.norm(theta) / np.linalg.norm(u) * u
            theta = theta - v
    return theta


@pytest.mark.parametrize("decay", [0.05, 1.0])
@pytest.mark.parametrize("size", [1, 5, 16_384, 16_385, 100_003])
@pytest.mark.parametrize("rule", RULES)
def test_steps_are_those_of_the_formula(rule, size, decay, fixed_rng):
    start, grads = fixed_rng.normal(size=size), fixed_rng.normal(size=(4, size))
    params, optimizer = {"w": start.copy()}, getattr(optim, rule)(0.1, weight_decay=decay)
    for g in grads:
        optimizer.update(params, {"w": g})
    wanted = by_hand(rule, start, grads, rate=0.1, decay=decay)
    np.testing.assert_allclose(params["w"], wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rule", RULES)
def test_tensors_do_not_know_of_each_other(rule, dtype, rng):
    """Together, alone, and beside others that this step leaves out."""
    sizes = (3, 40_000, 1, 16_384, 70_001)
    start = {str(n): rng.normal(size=n).astype(dtype) for n in sizes}
    grads = {name: rng.normal(size=w.size).astype(dtype) for name, w in start.items()}
    together = {name: w.copy() for name, w in start.items()}
    getattr(optim, rule)(0.1).update(together, grads)
    for name, w in start.items():
        alone = {"w": w.copy()}
        getattr(optim, rule)(0.1).update(alone, {"w": grads[name]})
        harness.same_bits(alone["w"], together[name])
        beside = {key: value.copy() for key, value in start.items()}
        getattr(optim, rule)(0.1).update(
            beside, {k: grads[k] if k == name else None for k in grads}
        )
        for key, value in beside.items():
            harness.same_bits(value, together[key] if key == name else start[key])


@pytest.mark.parametrize("rule", RULES)
def test_every_level_and_thread_count_has_the_same_bits(rule, level, threads, dtype, rng):
    params, grads = rng.normal(size=(2, 90_001)).astype(dtype)
    expected, mine = [params.copy()], [params.copy()]
    for optimizer, values in (
        (getattr(reference, rule)(0.1, weight_decay=0.1), expected),
        (getattr(optim, rule)(0.1, weight_decay=0.1), mine),
    ):
        for _ in range(2):
            optimizer.update(values, [grads])
    harness.same_bits(mine[0], expected[0])


@pytest.mark.parametrize("size", [3, 16_384, 50_000])
@pytest.mark.parametrize("unit", [2.0**700, 2.0**-700])
@pytest.mark.parametrize("rule", RULES)
def test_norms_of_float64_whose_squares_leave_its_range(rule, unit, size, fixed_rng):
    """Weights and gradients of another size give the same step, of that size."""
    start, grad = fixed_rng.normal(size=(2, size))
    optimizer = {"LAMB": lambda: LAMB(0.1), "LARS": lambda: LARS(momentum=0.5)}[rule]
    plain, far = [start.copy()], [start * unit]
    for values, g in ((plain, grad), (far, grad * (unit if rule == "LARS" else 1.0))):
        taken = optimizer()
        for _ in range(2):
            taken.update(values, [g])
    np.testing.assert_allclose(far[0] / unit, plain[0], rtol=1e-13)


@pytest.mark.parametrize("rule", RULES)
def test_a_norm_of_zero_counts_as_a_ratio_of_one(rule):
    rate = 0.25
    moved = step(getattr(optim, rule)(rate), [0.0, 0.0], [2.0, -2.0])
    np.testing.assert_allclose(moved, [-rate, rate] if rule == "LAMB" else [-0.5, 0.5], rtol=1e-5)
    np.testing.assert_array_equal(step(getattr(optim, rule)(rate), [3.0, 4.0], [0.0, 0.0]), [3, 4])


@pytest.mark.parametrize("rule", RULES)
def test_what_exclude_names_has_neither_decay_nor_ratio(rule, rng):
    start, grad = rng.normal(size=(2, 20_000))
    params = {"w": start.copy(), "b": start.copy()}
    taken = getattr(optim, rule)(0.1, weight_decay=0.5, exclude=["b"])
    taken.update(params, {"w": grad, "b": grad})
    plain = {"LAMB": optim.Adam(0.1, epsilon=1e-6), "LARS": optim.Momentum(0.1)}[rule]
    np.testing.assert_allclose(params["b"], step(plain, start, grad), rtol=1e-12, atol=1e-15)
    assert not np.allclose(params["w"], params["b"])


def test_a_proximal_step_of_one_shrinks_too():
    """Each by 1 / |g|, after a step of one against the sign of g."""
    optimizer = LAMB(1.0, beta1=0.0, beta2=0.0, lambda_l1=1.0, l1_mode="prox")
    np.testing.assert_allclose(step(optimizer, [0.0, 0.0], [2.0, -4.0]), [-0.5, 0.75], rtol=1e-5)


def test_nesterov_looks_ahead():
    with num_threads(1):
        found = step(LARS(1.0, 0.5, 0.1, nesterov=True), [3.0, 4.0], [5.0, 0.0])
    np.testing.assert_allclose(found, [3.0 - 1.5 * 0.5, 4.0], rtol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_one_nan_reaches_its_tensor_and_no_other(rule):
    params = {"a": np.ones(20_000), "b": np.ones(3)}
    grads = {"a": np.ones(20_000), "b": np.ones(3)}
    grads["a"][7] = np.nan
    getattr(optim, rule)(0.1).update(params, grads)
    assert np.isnan(params["a"]).all()
    assert np.isfinite(params["b"]).all()
