"""What the services mean: decay, penalties, clipping, exclusion, averages, values not finite."""

import math

import harness
import numpy as np
import pytest
from harness import same_states, step

import fastreg
from fastreg import SGD, Adam, AdamW, Momentum, optim, reference

RULES = optim.__all__


def test_decoupled_decay_and_coupled_l2_are_two_things():
    decayed = step(Adam(0.1, weight_decay=0.5), [1.0], [0.0])
    np.testing.assert_allclose(decayed, 0.95)
    coupled = step(Adam(0.1, lambda_l2=0.5), [1.0], [0.0])  # Adam normalises the penalty away
    np.testing.assert_allclose(coupled, 0.9, rtol=1e-6)
    np.testing.assert_allclose(step(SGD(0.1, lambda_l2=0.5), [1.0], [0.0]), 0.95)
    np.testing.assert_allclose(step(AdamW(0.1), [1.0], [0.0]), 0.999)


def test_proximal_l1_reaches_exact_zeros_and_the_subgradient_does_not(fixed_rng):
    A = fixed_rng.normal(size=(200, 50))
    truth = np.where(np.arange(50) < 5, 2.0, 0.0)
    b = A @ truth + 0.01 * fixed_rng.normal(size=200)
    zeros = {}
    for mode in ("subgradient", "prox"):
        optimizer = Adam(0.01, lambda_l1=0.1, l1_mode=mode)
        params = {"w": fixed_rng.normal(size=50) * 0.1}
        for _ in range(3000):
            optimizer.update(params, {"w": A.T @ (A @ params["w"] - b) / 200})
        zeros[mode] = np.flatnonzero(params["w"] == 0.0)
        np.testing.assert_allclose(params["w"], truth, atol=0.2)
    assert zeros["subgradient"].size == 0
    assert zeros["prox"].size >= 40
    assert not np.intersect1d(zeros["prox"], np.arange(5)).size


def test_proximal_sgd_is_ista():
    """theta <- S(theta - lr g, lr lambda)."""
    found = step(
        SGD(0.5, lambda_l1=0.4, l1_mode="prox"), [1.0, -1.0, 0.3, 0.1], [0.2, 0.2, 0.6, 0.0]
    )
    np.testing.assert_allclose(found, [0.7, -0.9, 0.0, 0.0])
    assert found[2] == found[3] == 0.0


@pytest.mark.parametrize("rule", RULES)
def test_clip_norm_equals_the_two_step_formula(rule, fixed_rng):
    shapes = [(3, 4), (50,), ()]
    one, clipped = getattr(optim, rule)(), getattr(optim, rule)(clip_norm=0.5)
    for _ in range(3):
        grads = [np.asarray(fixed_rng.normal(size=shape)) for shape in shapes]
        norm = math.sqrt(sum(float((g * g).sum()) for g in grads))
        values = [[np.zeros(shape) for shape in shapes] for _ in range(2)]
        one.update(values[0], [np.asarray(g * (0.5 / norm)) for g in grads])
        clipped.update(values[1], grads)
        assert clipped.grad_norm == pytest.approx(norm, rel=1e-14)
        for a, b in zip(*values, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_clip_norm_leaves_small_gradients_alone():
    optimizer = SGD(1.0, clip_norm=10.0)
    np.testing.assert_array_equal(step(optimizer, [0.0, 0.0], [3.0, 4.0]), [-3.0, -4.0])
    assert optimizer.grad_norm == 5.0


@pytest.mark.parametrize("size", [1e140, 1e200, 1e300])
def test_clip_norm_survives_huge_gradients(size):
    optimizer = SGD(1.0, clip_norm=5.0)
    np.testing.assert_allclose(step(optimizer, [0.0, 0.0], [3 * size, 4 * size]), [-3.0, -4.0])
    assert optimizer.grad_norm == pytest.approx(5 * size, rel=1e-14)


def test_clip_norm_has_the_same_bits_for_every_level_and_thread_count(level, threads, dtype, rng):
    grads = [rng.normal(size=size).astype(dtype) for size in (100_000, 17, 3)]
    optimizer = SGD(0.1, clip_norm=1.0)
    optimizer.update([np.zeros_like(g) for g in grads], grads)
    slow = reference.SGD(0.1, clip_norm=1.0)
    slow.update([np.zeros_like(g) for g in grads], grads)
    assert optimizer.grad_norm == slow.grad_norm


@pytest.mark.parametrize("services", [{}, {"clip_norm": 1.0}, {"lambda_l2": 0.1}, {"ema_decay": 0}])
@pytest.mark.parametrize("rule", RULES)
def test_maximize_is_the_negated_gradient(rule, services, dtype, rng):
    """In every bit, the signs of zeros among them."""
    shapes = [(5,), (20_000,), (3, 7)]
    up, down = (getattr(optim, rule)(0.1, maximize=m, **services) for m in (True, False))
    params = [[rng.normal(size=shape).astype(dtype) for shape in shapes]]
    params[0][0][:3] = 0.0, -0.0, -0.0
    params.append([p.copy() for p in params[0]])
    for _ in range(3):
        grads = [rng.normal(size=shape).astype(dtype) for shape in shapes]
        grads[0][:4] = 0.0, 0.0, -0.0, 0.0
        up.update(params[0], grads)
        down.update(params[1], [-g for g in grads])
    for mine, theirs in zip(*params, strict=True):
        harness.same_bits(mine, theirs)
    again = getattr(optim, rule)(maximize=True, **services)
    again.load_state_dict(up.state_dict())
    mine, theirs = again.state_dict(), down.state_dict()
    assert mine.pop("maximize") is True
    same_states(mine, theirs)


def test_a_state_of_an_optimizer_that_climbs_is_not_taken_for_one_that_descends():
    up, down = Adam(maximize=True), Adam()
    for one, other in ((up, down), (down, up)):
        with pytest.raises(ValueError, match=r"Adam\.load_state_dict: .*maximize"):
            one.load_state_dict(other.state_dict())


def test_dampening_spares_the_velocity_every_gradient_but_a_parameter_s_first():
    optimizer, params = Momentum(1.0, momentum=0.5, dampening=0.25), {"a": np.zeros(1)}
    for _ in range(2):
        optimizer.update(params, dict.fromkeys(params, 1.0))
        params.setdefault("b", np.zeros(1))
    np.testing.assert_array_equal(optimizer.v["a"], 0.5 + 0.75)
    np.testing.assert_array_equal(optimizer.v["b"], 1.0)


def test_a_state_from_before_there_was_dampening_has_none():
    optimizer, state = Momentum(dampening=0.5), Momentum().state_dict()
    del state["hyper.dampening"]
    optimizer.load_state_dict(state)
    assert optimizer.dampening == 0.0


def test_clip_value_bounds_each_element():
    np.testing.assert_array_equal(
        step(SGD(1.0, clip_value=0.5), [0.0, 0.0, 0.0], [3.0, -0.25, -np.inf]), [-0.5, 0.25, 0.5]
    )


def test_exclude_by_pattern_and_by_predicate():
    params = {"0.W": np.ones(2), "0.b": np.ones(2), "1.gamma": np.ones(2)}
    zero = {name: np.zeros(2) for name in params}
    for exclude in (optim.BIASES_AND_SCALES, lambda name: not name.endswith("W")):
        values = {name: p.copy() for name, p in params.items()}
        SGD(0.1, weight_decay=1.0, lambda_l1=1.0, exclude=exclude).update(values, zero)
        np.testing.assert_allclose(values["0.W"], 0.8)
        np.testing.assert_array_equal(values["0.b"], 1.0)
        np.testing.assert_array_equal(values["1.gamma"], 1.0)
    values = {name: p.copy() for name, p in params.items()}
    SGD(0.1, weight_decay=1.0).update(values, zero)  # by default nothing is exempt
    np.testing.assert_allclose(list(values.values()), 0.9)


# --- values that are not finite -----------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rule", RULES)
def test_skip_and_raise_leave_everything_untouched(rule, bad, dtype):
    for mode in ("skip", "raise"):
        optimizer = getattr(optim, rule)(on_nonfinite=mode)
        params = {"a": np.ones(20_000, dtype), "b": np.ones(3, dtype)}
        grads = {"a": np.ones(20_000, dtype), "b": np.ones(3, dtype)}
        optimizer.update(params, grads)
        before = {name: p.copy() for name, p in params.items()}
        state = optimizer.state_dict()
        grads["a"][17_000] = bad
        if mode == "raise":
            with pytest.raises(FloatingPointError, match=r"grads must be finite.*\['a'\]"):
                optimizer.update(params, grads)
        else:
            optimizer.update(params, grads)
            assert optimizer.skipped == 1
            state["skipped"] = 1
        assert optimizer.t == 1
        same_states(optimizer.state_dict(), state)
        for name in params:
            harness.same_bits(params[name], before[name])


def test_by_default_nan_spreads_only_where_it_is():
    found = step(Adam(clip_norm=1.0), [1.0, 1.0], [np.nan, 0.1])
    assert np.isnan(found[0])
    assert np.isfinite(found[1])


# --- averages -----------------------------------------------------------------------------


def test_averages_follow_the_parameters():
    optimizer, params = SGD(1.0, ema_decay=0.75), {"w": np.array([4.0]), "s": 4.0}
    optimizer.update(params, {"w": np.array([4.0]), "s": 4.0})
    assert params == {"w": 0.0, "s": 0.0}
    assert (optimizer.ema["w"], optimizer.ema["s"]) == (3.0, 3.0)
    optimizer.swap_ema()
    assert params == {"w": 3.0, "s": 3.0}
    optimizer.swap_ema()
    assert params == {"w": 0.0, "s": 0.0}
    assert optimizer.ema["w"] == 3.0


def test_swapping_large_averages_is_exact(rng, dtype):
    optimizer, w = Adam(ema_decay=0.9), rng.normal(size=10_001).astype(dtype)
    optimizer.update({"w": w}, {"w": np.ones_like(w)})
    before, average = w.copy(), optimizer.ema["w"].copy()
    optimizer.swap_ema()
    harness.same_bits(w, average)
    optimizer.swap_ema()
    harness.same_bits(w, before)


def test_swapping_leaves_alone_what_the_last_update_left_out():
    for module in (fastreg, reference):
        optimizer = module.SGD(1.0, ema_decay=0.75)
        params = {"a": np.array([4.0]), "b": np.array([8.0]), "s": 4.0}
        optimizer.update(params, {"a": np.array([4.0]), "b": np.array([8.0]), "s": 4.0})
        rest = {"a": params["a"], "s": params["s"]}
        optimizer.update(rest, {"a": np.zeros(1), "s": 0.0})
        optimizer.swap_ema()
        assert (params["a"], params["b"], rest["s"]) == (2.25, 0.0, 2.25)
        assert (optimizer.ema["a"], optimizer.ema["b"], optimizer.ema["s"]) == (0.0, 6.0, 0.0)
        optimizer.swap_ema()
        assert (params["a"], params["b"], rest["s"]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("options", [{}, {"ema_decay": 0.5}])
def test_swapping_needs_averages(options):
    with pytest.raises(RuntimeError, match="needs ema_decay= and at least one update"):
        SGD(**options).swap_ema()


# --- constructor --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"weight_decay": -1}, ValueError, "weight_decay must be"),
        ({"lambda_l1": float("nan")}, ValueError, "lambda_l1 must be"),
        ({"lambda_l2": "x"}, TypeError, "lambda_l2 must be"),
        ({"clip_norm": 0}, ValueError, "clip_norm must be"),
        ({"clip_value": 0}, ValueError, "clip_value must be"),
        ({"ema_decay": 1.0}, ValueError, "ema_decay must be"),
        ({"l1_mode": "hard"}, ValueError, "l1_mode must be one of"),
        ({"on_nonfinite": "ignore"}, ValueError, "on_nonfinite must be one of"),
        ({"compat": "jax"}, ValueError, "compat must be one of"),
        ({"exclude": "*.b"}, TypeError, "exclude must be a predicate or a list"),
        ({"exclude": [1]}, TypeError, "exclude must be"),
        ({"exclude": None}, TypeError, "exclude must be"),
        ({"groups": {0: {}}}, TypeError, "patterns of names"),
        ({"groups": {"a": {"lr": 0.5}}}, ValueError, "no hyper-parameter 'lr'"),
        ({"groups": ["a"]}, TypeError, "groups must be a dict"),
        ({"groups": {"a": {"speed": 1}}}, ValueError, "no hyper-parameter 'speed'"),
        (
            {"groups": {"a": {"learning_rate": -1}}},
            ValueError,
            r"groups\['a'\]: learning_rate must be",
        ),
        ({"exclude": True}, TypeError, "exclude must be a predicate or a list"),
        ({"exclude": 1.5}, TypeError, "exclude must be a predicate or a list"),
        ({"clip_value": np.ones(2)}, TypeError, "clip_value must be"),
        ({"weight_decay": None}, TypeError, "weight_decay must be"),
        ({"speed": 1}, TypeError, "unknown arguments speed"),
    ],
)
@pytest.mark.parametrize("rule", ["SGD", "Adam"])
def test_services_are_checked(rule, options, error, message):
    with pytest.raises(error, match=f"{rule}: .*{message}" if "groups" not in options else message):
        getattr(optim, rule)(**options)


def test_the_base_is_common():
    for rule in RULES:
        assert issubclass(getattr(optim, rule), fastreg.Optimizer)


def test_what_a_library_does_not_have_is_refused():
    with pytest.raises(ValueError, match="Keras has no RAdam"):
        fastreg.RAdam(compat="keras")
    with pytest.raises(ValueError, match="torch has no Lion"):
        fastreg.Lion(compat="torch")


@pytest.mark.parametrize("rule", ["SGD", "Momentum", "AdaGrad", "RMSprop", "RAdam"])
def test_decay_that_optax_does_not_have_is_refused(rule):
    make = getattr(optim, rule)
    for options in ({"weight_decay": 0.1}, {"weight_decay": lambda step: 0.1},
                    {"groups": {"w": {"weight_decay": 0.1}}}):  # fmt: skip
        with pytest.raises(
            ValueError, match=rf"{rule}.*weight_decay must be 0 with compat='optax'"
        ):
            make(compat="optax", **options)
    optimizer = make(compat="optax", weight_decay=0.0)
    with pytest.raises(ValueError, match="weight_decay must be 0"):
        optimizer.weight_decay = 0.1
    with pytest.raises(ValueError, match="weight_decay must be 0"):
        fastreg.Adam(amsgrad=True, weight_decay=0.1, compat="optax")


def test_decay_is_the_library_s_own():
    first = {
        (None, "Adam"): 0.95 - 0.1, ("torch", "Adam"): 0.9, ("keras", "Adam"): 0.85,
        ("torch", "AdamW"): 0.85, ("torch", "SGD"): 1.0 - 0.1 * 0.6, ("keras", "SGD"): 0.95 - 0.01,
    }  # fmt: skip
    for (library, rule), wanted in first.items():
        for module in (optim, reference):
            optimizer = getattr(module, rule)(0.1, weight_decay=0.5, compat=library)
            np.testing.assert_allclose(step(optimizer, [1.0], [0.1]), wanted, rtol=1e-5)
    coupled = step(fastreg.Adadelta(1.0, weight_decay=0.5, compat="optax"), [1.0], [0.1])
    np.testing.assert_allclose(coupled, 1 - (1e-6 / (0.1 * 0.36 + 1e-6)) ** 0.5 * 0.6, rtol=1e-12)


def test_averages_begin_where_the_library_s_do():
    """3 becomes 2 and then 1: Keras and torch begin with a copy of 2."""
    for library, wanted in ((None, [2.9, 2.71]), ("optax", [2.9, 2.71]), ("keras", [2.0, 1.9]),
                            ("torch", [2.0, 1.9])):  # fmt: skip
        for module in (optim, reference):
            optimizer = module.SGD(1.0, ema_decay=0.9, compat=library)
            params, found = {"w": np.array([3.0])}, []
            for _ in wanted:
                optimizer.update(params, {"w": np.ones(1)})
                found.append(float(optimizer.ema["w"][0]))
            np.testing.assert_allclose(found, wanted, rtol=1e-15)


@pytest.mark.parametrize("compat", ["torch", "keras", "optax"])
@pytest.mark.parametrize("rule", RULES)
def test_services_under_compat_have_the_reference_s_bits(rule, compat, rng):
    if optim.__dict__[rule]._decays.get(compat) == "no class":
        return
    options = {"clip_norm": 0.7, "ema_decay": 0.8, "exclude": ["1"], "weight_decay": 0.0}
    if optim.__dict__[rule]._decays[compat] != "none":
        options["weight_decay"] = 0.1
    theirs = optim.__dict__[rule]._defaults.get(compat, {})
    fast = getattr(optim, rule)(compat=compat, **options)
    slow = getattr(reference, rule)(compat=compat, **(theirs | options))
    params = [rng.normal(size=size) for size in (5, 20_000)]
    copies = [value.copy() for value in params]
    for _ in range(3):
        grads = [rng.normal(size=value.shape) for value in params]
        fast.update(params, grads)
        slow.update(copies, grads)
    for k in range(2):
        harness.same_bits(params[k], copies[k])
        harness.same_bits(fast.ema[k], slow.ema[k])
