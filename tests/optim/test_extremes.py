"""One element beyond the range of squares, at every place: neither it nor its neighbours notice."""

import harness
import numpy as np
import pytest

import fastreg
from fastreg import reference

WATCHED = (
    "AdaGrad",
    "RMSprop",
    "Adam",
    "AdamW",
    "NAdam",
    "RAdam",
    "Adadelta",
    "Yogi",
    "Adan",
    "ScheduleFreeAdamW",
)
LENGTHS = (1, 63, 64, 65, 127, 128, 129, 200)
EXTREME = {np.float32: 1e25, np.float64: 1e250}
EDGE = {np.float32: 1e19, np.float64: 1e153}  # where squares begin to leave the range


def stepped(rule, services, w, g):
    """A parameter after two steps with one gradient."""
    optimizer, params = getattr(fastreg, rule)(0.1, **services), {"w": w}
    for _ in range(2):
        optimizer.update(params, {"w": g})
    return w


@pytest.mark.parametrize("penalised", [False, True], ids=["plain", "l2"])
@pytest.mark.parametrize("rule", WATCHED)
def test_an_extreme_element_is_as_if_alone_wherever_it_stands(
    rule, penalised, dtype, guarded, level
):
    large, usual = dtype(0.5), dtype(EXTREME[dtype])
    services = {}
    if penalised:  # a weight whose share of the gradient is extreme, as the others' are not
        large, usual = dtype(1e5), dtype(0.25)
        services = {"lambda_l2": EDGE[dtype] / 1e4}
    ordinary = stepped(rule, services, np.full(1, 0.5, dtype), np.full(1, 0.25, dtype))
    alone = stepped(rule, services, np.full(1, large), np.full(1, usual))
    assert np.isfinite(alone).all()
    for n in LENGTHS:
        for place in range(n):
            w, g = guarded(np.full(n, 0.5, dtype)), guarded(np.full(n, 0.25, dtype))
            w[place], g[place] = large, usual
            expected = np.repeat(ordinary, n)
            expected[place] = alone[0]
            harness.same_bits(stepped(rule, services, w, g), expected)


@pytest.mark.parametrize("rule", WATCHED)
def test_gradients_of_every_size_have_the_bits_of_the_twin(rule, dtype, rng):
    """Every power of two, where squares fit and where they are taken in units."""
    ends = np.finfo(dtype)
    powers = np.arange(ends.minexp - ends.nmant, ends.maxexp)
    fast, slow = getattr(fastreg, rule)(0.1), getattr(reference, rule)(0.1)
    mine, expected = {"w": np.ones(powers.size, dtype)}, {"w": np.ones(powers.size, dtype)}
    for turn in range(4):
        signs = rng.choice([-1.0, 1.0], powers.size)
        grad = np.ldexp(rng.uniform(1, 2, powers.size) * signs, np.roll(powers, turn // 2))
        fast.update(mine, {"w": grad.astype(dtype)})
        with np.errstate(all="ignore"):
            slow.update(expected, {"w": grad.astype(dtype)})
        harness.same_bits(mine["w"], expected["w"])
        for k, state in enumerate(slow.state.values()):
            harness.same_bits(fast._updater.slot(k)["w"], np.asarray(state["w"]))


@pytest.mark.parametrize("rule", [*WATCHED, "LAMB"])
def test_a_penalty_whose_squares_leave_the_range_has_the_bits_of_the_twin(rule, dtype, level, rng):
    """The penalty alone is extreme; epsilon and the gradients are not."""
    w, g = rng.normal(size=(2, 200)).astype(dtype)
    w[::7] = 0
    fast, slow = (
        getattr(module, rule)(0.1, lambda_l1=EXTREME[dtype]) for module in (fastreg, reference)
    )
    mine, expected = {"w": w.copy()}, {"w": w.copy()}
    for _ in range(2):
        fast.update(mine, {"w": g})
        with np.errstate(all="ignore"):
            slow.update(expected, {"w": g})
    assert np.isfinite(mine["w"]).all()
    harness.same_bits(mine["w"], expected["w"])


def test_a_variance_that_rounding_makes_negative_is_zero(dtype, level, fixed_rng):
    """Of gradients that stay the same the variance goes to zero, and beyond it by rounding."""
    g = fixed_rng.uniform(0.1, 9, 300).astype(dtype)
    fast, slow = (module.RMSprop(0.1, centered=True) for module in (fastreg, reference))
    mine, expected = {"w": np.zeros_like(g)}, {"w": np.zeros_like(g)}
    for _ in range(600):
        fast.update(mine, {"w": g})
        slow.update(expected, {"w": g})
    state = fast.state_dict()
    assert (state["w.v"] < state["w.mean"] * state["w.mean"]).any()
    assert np.isfinite(mine["w"]).all()
    harness.same_bits(mine["w"], expected["w"])


@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "int8"])
@pytest.mark.parametrize("epsilon", [2e-12, 0.0])
def test_a_root_in_the_place_of_a_square_is_known_for_one_when_epsilon_grows(epsilon, state_dtype):
    """By the bias correction of the first steps, or by hand: squares begin to count as 0."""
    own = {"state_dtype": state_dtype, "rng": 0} if state_dtype else {}
    for options in ({}, {"amsgrad": True}):
        optimizer = fastreg.Adam(0.01, epsilon=epsilon, **options, **own)
        params, grads = {"w": np.ones(300, "f4")}, {"w": np.full(300, 1e-25, "f4")}
        for _ in range(3):
            optimizer.update(params, grads)
        before = params["w"].copy()
        if epsilon:
            optimizer.t = 400
        else:
            optimizer.epsilon = 1e-8
        for _ in range(3):
            optimizer.update(params, grads)
        np.testing.assert_allclose(params["w"], before, atol=1e-9)
