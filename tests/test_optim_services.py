"""What the services mean: closed forms, exact zeros, clipping, groups, averages and state."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading

import harness
import numpy as np
import pytest

import fastreg
from fastreg import SGD, Adam, AdamW, Lion, Momentum, optim, reference

RULES = optim.__all__


def same_states(one, other):
    """Equal keys, equal numbers, equal bits."""
    assert list(one) == list(other)
    for key, value in one.items():
        if isinstance(value, np.ndarray):
            harness.same_bits(value, other[key])
        else:
            assert value == other[key], key


def step(optimizer, value, grad):
    params = {"w": np.array(value, float)}
    optimizer.update(params, {"w": np.array(grad, float)})
    return params["w"]


# --- meaning of each service --------------------------------------------------------------


def test_closed_forms_of_the_first_step():
    theta, g = np.array([2.0, -3.0, 0.5]), np.array([0.3, -0.2, 4.0])
    lr = 0.1
    expected = {
        "SGD": theta - lr * g,
        "Momentum": theta - lr * g,
        "AdaGrad": theta - lr * g / np.sqrt(g * g + 1e-8),
        "RMSprop": theta - lr * g / np.sqrt(0.1 * g * g + 1e-8),
        "Adam": theta - lr * g / (np.abs(g) + 1e-8),
        "AdamW": theta * (1 - lr * 0.01) - lr * g / (np.abs(g) + 1e-8),
        "RAdam": theta - lr * g,
        "Adamax": theta - lr * g / (np.abs(g) + 1e-8),
        "Adadelta": theta - lr * np.sqrt(1e-6 / (0.1 * g * g + 1e-6)) * g,
        "Lion": theta - lr * np.sign(g),
    }
    mu = [0.9 * (1 - 0.5 * 0.96 ** (0.004 * t)) for t in (1, 2)]
    nesterov = (1 - mu[0]) * g / (1 - mu[0]) + mu[1] * 0.1 * g / (1 - mu[0] * mu[1])
    expected["NAdam"] = theta - lr * nesterov / (np.abs(g) + 1e-8)
    assert set(expected) == set(RULES)
    for rule, wanted in expected.items():
        found = step(getattr(optim, rule)(lr), theta, g)
        np.testing.assert_allclose(found, wanted, rtol=1e-12, err_msg=rule)


@pytest.mark.parametrize("rule", ["Adam", "RMSprop", "AdaGrad", "NAdam", "Adamax", "Adadelta"])
def test_gradients_below_epsilon_make_small_steps(rule):
    """Where epsilon dominates, the step is proportional to the gradient."""
    optimizer = getattr(optim, rule)
    moves = [step(optimizer(0.1, epsilon=0.01), [0.0], [g])[0] for g in (1e-9, 2e-9)]
    assert moves[1] / moves[0] == pytest.approx(2, rel=1e-4)
    assert 0 < abs(moves[0]) < 1e-6


def test_decoupled_decay_and_coupled_l2_are_two_things():
    decayed = step(Adam(0.1, weight_decay=0.5), [1.0], [0.0])
    np.testing.assert_allclose(decayed, 0.95)
    coupled = step(Adam(0.1, lambda_l2=0.5), [1.0], [0.0])  # Adam normalises the penalty away
    np.testing.assert_allclose(coupled, 0.9, rtol=1e-6)
    np.testing.assert_allclose(step(SGD(0.1, lambda_l2=0.5), [1.0], [0.0]), 0.95)
    np.testing.assert_allclose(step(AdamW(0.1), [1.0], [0.0]), 0.999)


def test_proximal_l1_reaches_exact_zeros_and_the_subgradient_does_not(rng):
    A = rng.normal(size=(200, 50))
    truth = np.where(np.arange(50) < 5, 2.0, 0.0)
    b = A @ truth + 0.01 * rng.normal(size=200)
    zeros = {}
    for mode in ("subgradient", "prox"):
        optimizer = Adam(0.01, lambda_l1=0.1, l1_mode=mode)
        params = {"w": rng.normal(size=50) * 0.1}
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
def test_clip_norm_equals_the_two_step_formula(rule, rng):
    shapes = [(3, 4), (50,), ()]
    one, clipped = getattr(optim, rule)(), getattr(optim, rule)(clip_norm=0.5)
    for _ in range(3):
        grads = [np.asarray(rng.normal(size=shape)) for shape in shapes]
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


@pytest.mark.parametrize("size", [1e200, 1e300])
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


def test_groups_override_by_the_first_pattern_that_matches():
    params = {name: np.zeros(1) for name in ("encoder.W", "encoder.b", "head.W")}
    groups = {"*.b": {"learning_rate": 3.0}, "encoder.*": {"learning_rate": 2.0}}
    SGD(1.0, groups=groups).update(params, {name: np.ones(1) for name in params})
    assert {k: float(v[0]) for k, v in params.items()} == {
        "encoder.W": -2.0,
        "encoder.b": -3.0,
        "head.W": -1.0,
    }


@pytest.mark.parametrize("rule", RULES)
def test_one_optimizer_of_three_tensors_is_three_of_one(rule, rng):
    together, apart = getattr(optim, rule)(), [getattr(optim, rule)() for _ in range(3)]
    values = [rng.normal(size=size) for size in (5, 20_000, 33)]
    copies = [value.copy() for value in values]
    for _ in range(3):
        grads = [rng.normal(size=value.size) for value in values]
        together.update(values, grads)
        for optimizer, value, grad in zip(apart, copies, grads, strict=True):
            optimizer.update([value], [grad])
    for a, b in zip(values, copies, strict=True):
        harness.same_bits(a, b)


# --- schedules ----------------------------------------------------------------------------


def test_schedules_are_functions_of_the_step():
    asked = []

    def rate(step):
        asked.append(step)
        return 1.0 / 2**step

    optimizer, params = SGD(rate), {"w": np.array([0.0])}
    for _ in range(3):
        optimizer.update(params, {"w": np.array([1.0])})
    assert asked == [0, 1, 2]
    assert params["w"] == -1.75
    assert optimizer.lr == 0.125
    optimizer.lr = 1.0
    optimizer.update(params, {"w": np.array([1.0])})
    assert params["w"] == -2.75


@pytest.mark.parametrize("value", [float("nan"), -1.0, float("inf"), "0.5", True, 10**400, None])
def test_a_schedule_that_gives_no_rate_changes_nothing(value):
    optimizer, params = SGD(lambda step: 1.0 if step == 0 else value), {"w": np.zeros(1)}
    optimizer.update(params, {"w": np.ones(1)})
    with pytest.raises(ValueError, match="schedule of learning_rate must give .* at step 1"):
        optimizer.update(params, {"w": np.ones(1)})
    assert (params["w"][0], optimizer.t) == (-1.0, 1)


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


@pytest.mark.parametrize("options", [{}, {"ema_decay": 0.5}])
def test_swapping_needs_averages(options):
    with pytest.raises(RuntimeError, match="needs ema_decay= and at least one update"):
        SGD(**options).swap_ema()


# --- state --------------------------------------------------------------------------------

SERVED = {
    "ema_decay": 0.9,
    "clip_norm": 1.0,
    "weight_decay": 0.1,
    "groups": {"b": {"learning_rate": 0.3}},
}


def trained(rule, rng, options):
    optimizer = getattr(optim, rule)(**options)
    params = {"a": np.asfortranarray(rng.normal(size=(4, 3))), "b": rng.normal(size=5), "c": 0.5}
    for _ in range(3):
        optimizer.update(params, {"a": rng.normal(size=(4, 3)), "b": rng.normal(size=5), "c": 0.1})
    return optimizer, params


@pytest.mark.parametrize("options", [{}, SERVED])
@pytest.mark.parametrize("rule", RULES)
def test_resume_is_bit_exact(rule, options, rng):
    optimizer, params = trained(rule, rng, options)
    optimizer.lr = 0.017
    state = optimizer.state_dict()
    scalars = {k: v for k, v in state.items() if not isinstance(v, np.ndarray)}
    state |= json.loads(json.dumps(scalars))
    resumed = getattr(optim, rule)(**options)
    resumed.load_state_dict(state)
    copies = {name: np.array(p, order="K") if name != "c" else p for name, p in params.items()}
    for _ in range(3):
        grads = {"a": rng.normal(size=(4, 3)), "b": rng.normal(size=5), "c": -0.2}
        optimizer.update(params, grads)
        resumed.update(copies, grads)
    for name in params:
        harness.same_bits(np.asarray(copies[name]), np.asarray(params[name]))
    assert resumed.t == optimizer.t


def test_a_state_is_a_copy(rng):
    optimizer, params = trained("Adam", rng, {})
    state = optimizer.state_dict()
    kept = state["a.m"].copy()
    optimizer.update(params, {"a": np.ones((4, 3)), "b": np.ones(5), "c": 1.0})
    np.testing.assert_array_equal(state["a.m"], kept)
    optimizer.load_state_dict(state)
    state["a.m"][:] = 7.0
    np.testing.assert_array_equal(optimizer.m["a"], kept)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: s.pop("a.m"), ValueError, r"lacks \['a.m'\]"),
        (lambda s: s.update(extra=1), ValueError, r"unknown \['extra'\]"),
        (lambda s: s.update(optimizer="SGD"), ValueError, "must be 'Adam', got 'SGD'"),
        (lambda s: s.update(compat="torch"), ValueError, "must be None, got 'torch'"),
        (lambda s: s.update(t=-1), ValueError, "'t'"),
        (lambda s: s.update(t=1.5), TypeError, "'t'"),
        (lambda s: s.update(memory=[]), ValueError, "'memory'"),
        (lambda s: s.update(names="ab"), ValueError, "'names'"),
        (lambda s: s.update({"a.m": [1.0]}), TypeError, "'a.m'"),
        (lambda s: s.update({"a.m": np.ones(2)}), ValueError, "'a' must be alike"),
        (lambda s: s.update({"hyper.epsilon": "x"}), TypeError, "hyper.epsilon"),
        (lambda s: s.update({"hyper.beta1": 5.0}), ValueError, "hyper.beta1"),
        (lambda s: s.update({"hyper.learning_rate": -1.0}), ValueError, "hyper.learning_rate"),
        (lambda s: s.update(skipped=2**70), ValueError, "'skipped'"),
        (lambda s: s.update(names=[["a"]]), ValueError, "'names'"),
        (lambda s: s.update(l1_mode="prox"), ValueError, "must be 'subgradient', got 'prox'"),
    ],
)
def test_a_bad_state_is_refused_whole(change, error, message, rng):
    optimizer, _ = trained("Adam", rng, {})
    before, state = optimizer.state_dict(), optimizer.state_dict()
    change(state)
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(state)
    with pytest.raises(TypeError, match="state must be a dict"):
        optimizer.load_state_dict([])
    same_states(optimizer.state_dict(), before)


def test_an_unclipped_state_removes_the_clip():
    clipped = SGD(0.1, clip_value=0.5)
    clipped.load_state_dict(SGD(0.1).state_dict())
    np.testing.assert_allclose(step(clipped, [0.0], [10.0]), [-1.0])


def test_names_that_read_alike_cannot_be_saved():
    optimizer = Momentum()
    optimizer.update({0: np.ones(1), "0": np.ones(1)}, {0: np.ones(1), "0": np.ones(1)})
    with pytest.raises(ValueError, match="names must differ as text"):
        optimizer.state_dict()


def test_snapshots_are_of_one_moment():
    """A checkpoint taken while another thread trains never mixes two steps."""
    optimizer, stop = Momentum(1.0, momentum=0.0), threading.Event()
    params, grads = {"w": np.zeros(400_000)}, {"w": np.zeros(400_000)}

    def train():
        while not stop.is_set():
            grads["w"] += 1.0
            optimizer.update(params, grads)

    optimizer.update(params, grads)
    worker = threading.Thread(target=train)
    worker.start()
    try:
        for _ in range(10):
            velocity = optimizer.state_dict()["w.v"]
            assert (velocity == velocity[0]).all()
    finally:
        stop.set()
        worker.join()


# --- what the step's own callbacks and other threads may do --------------------------------


def test_a_schedule_may_drop_the_gradients():
    grads = {"w": np.ones(4_000_000)}

    def rate(step):
        grads.clear()
        return 0.1

    with pytest.raises(ValueError, match=r"missing \['w'\]"):
        SGD(rate).update({"w": np.zeros(4_000_000)}, grads)


def test_gradients_live_as_long_as_the_step():
    optimizer, params = SGD(1.0), {"w": np.zeros(3_000_000)}
    for _ in range(10):
        grads = {"w": np.ones(3_000_000)}
        worker = threading.Thread(target=optimizer.update, args=(params, grads))
        worker.start()
        with contextlib.suppress(KeyError):
            grads["w"] = None
        worker.join()
    assert set(np.unique(params["w"])) <= {-float(optimizer.t)}


def test_a_step_inside_a_step_is_refused():
    def rate(step):
        optimizer.update({"w": np.zeros(1)}, {"w": np.ones(1)})
        return 0.1

    optimizer = SGD(rate)
    with pytest.raises(RuntimeError, match="called from inside its own update"):
        optimizer.update({"w": np.zeros(1)}, {"w": np.ones(1)})
    assert optimizer.t == 0


def test_a_schedule_may_assign_the_rate():
    def rate(step):
        optimizer.lr = 0.5
        return 0.25

    optimizer = SGD(rate)
    np.testing.assert_array_equal(step(optimizer, [0.0], [1.0]), [-0.25])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_during_another_thread_s_step_is_not_locked_out():
    optimizer, stop = SGD(1e-9), threading.Event()
    params, grads = {"w": np.zeros(2_000_000)}, {"w": np.ones(2_000_000)}

    def train():
        while not stop.is_set():
            optimizer.update(params, grads)

    worker = threading.Thread(target=train)
    worker.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                optimizer.update({"x": np.zeros(3)}, {"x": np.ones(3)})
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        worker.join()


# --- groups and assigned values ------------------------------------------------------------


def test_an_assigned_rate_reaches_the_groups_that_do_not_override_it():
    optimizer = SGD(0.1, groups={"b": {"weight_decay": 0.0}, "c": {"learning_rate": 3.0}})
    optimizer.lr = 2.0
    params = {name: np.zeros(1) for name in "abc"}
    optimizer.update(params, {name: np.ones(1) for name in "abc"})
    assert {name: float(p[0]) for name, p in params.items()} == {"a": -2.0, "b": -2.0, "c": -3.0}


def test_services_may_be_assigned():
    optimizer = SGD(0.1, lambda_l1=1.0, l1_mode="prox")
    optimizer.weight_decay, optimizer.lambda_l1, optimizer.clip_value = 1.0, 2.0, 0.5
    found = step(optimizer, [1.0], [100.0])
    np.testing.assert_allclose(found, [0.9 - 0.05 - 0.2])
    assert (optimizer.weight_decay, optimizer.lambda_l1, optimizer.clip_value) == (1.0, 2.0, 0.5)


def test_momentum_needs_a_velocity():
    optimizer = fastreg.RMSprop()
    with pytest.raises(ValueError, match="give it to the constructor"):
        optimizer.momentum = 0.9
    with pytest.raises(ValueError, match="give it to the constructor"):
        fastreg.RMSprop(groups={"w": {"momentum": 0.9}})


def test_a_refused_step_leaves_scalars_alone():
    optimizer, params = SGD(0.1, ema_decay=0.5), {"x": 1.0}
    optimizer.update(params, {"x": 0.0})
    with pytest.raises(TypeError):
        optimizer.update({"x": 100.0}, {"x": "bad"})
    optimizer.swap_ema()
    optimizer.swap_ema()
    assert params == {"x": 1.0}
    params["x"] = 7.0
    optimizer.swap_ema()
    optimizer.swap_ema()
    assert params == {"x": 7.0}


def test_swapping_refuses_arrays_that_were_replaced():
    optimizer, params = SGD(0.1, ema_decay=0.5), {"w": np.ones(2)}
    optimizer.update(params, {"w": np.ones(2)})
    params["w"] = np.zeros(2)
    with pytest.raises(ValueError, match="must hold the arrays of the last update"):
        optimizer.swap_ema()


def test_an_array_that_changed_dtype_in_place_is_noticed():
    optimizer, params = SGD(0.1), {"w": np.ones(2)}
    optimizer.update(params, {"w": np.ones(2)})
    params["w"].dtype = np.int64
    with pytest.raises(TypeError, match="int64"):
        optimizer.update(params, {"w": np.ones(2, np.int64)})


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
        ({"groups": {"a": {"learning_rate": -1}}}, ValueError, "learning_rate must be"),
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


def test_keras_has_no_radam():
    with pytest.raises(ValueError, match="Keras has no RAdam"):
        fastreg.RAdam(compat="keras")


# --- progress and interruption ------------------------------------------------------------

RATES = {
    "SGD": 0.002,
    "Momentum": 0.0005,
    "AdaGrad": 0.5,
    "RMSprop": 0.003,
    "RAdam": 0.01,
    "Adadelta": 1.0,
    "Lion": 0.001,
}


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_descends_rosenbrock_s_valley(rule):
    optimizer = getattr(optim, rule)(RATES.get(rule, 0.02))
    path = fastreg.compare_optimizers({rule: optimizer}, steps=8000, verbose=False)[rule]
    x, y = path[-1]
    loss = (1 - x) ** 2 + 100 * (y - x * x) ** 2  # 4 at the start
    assert loss < (1.0 if rule == "Adadelta" else 0.01)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_solves_an_ill_conditioned_quadratic(rule):
    scale = np.array([1.0, 100.0])
    optimizer, params = getattr(optim, rule)(RATES.get(rule, 0.02)), {"w": np.array([1.0, 1.0])}
    start = float((scale * params["w"] ** 2).sum())
    for _ in range(5000):
        optimizer.update(params, {"w": 2 * scale * params["w"]})
    assert float((scale * params["w"] ** 2).sum()) < 1e-2 * start


def test_compare_optimizers_prints_and_returns(capsys):
    histories = fastreg.compare_optimizers()
    assert list(histories) == ["SGD", "Momentum", "RMSprop", "Adam"]
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == list(histories)
    for path in histories.values():
        np.testing.assert_array_equal(path[0], [-1.0, 1.0])
        assert path.shape == (1001, 2)
    np.testing.assert_allclose(histories["Adam"][-1], [1.0, 1.0], atol=1e-3)
    for arguments, error in (
        ({"steps": -1}, ValueError),
        ({"start": (1.0, 2.0, 3.0)}, ValueError),
        ({"optimizers": [SGD()]}, TypeError),
    ):
        with pytest.raises(error, match="compare_optimizers"):
            fastreg.compare_optimizers(**arguments)


@pytest.mark.skipif(sys.platform == "win32", reason="no interval timer on Windows")
def test_an_interrupt_leaves_a_whole_number_of_steps():
    code = """
        import signal
        import numpy as np
        import fastreg

        w, g = np.zeros(3_000_000), np.ones(3_000_000)
        optimizer = fastreg.SGD(1.0)
        interrupts = 0
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        for delay in np.linspace(0.0005, 0.02, 60):
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                while True:
                    optimizer.update({"w": w}, {"w": g})
            except KeyboardInterrupt:
                interrupts += 1
            assert (w == -optimizer.t).all(), "a step was torn"
        print(interrupts, optimizer.t > 60)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300
    )
    assert done.stdout.split() == ["60", "True"], done.stderr


def test_mixed_rules_share_nothing():
    """Two optimizers on two halves of one buffer do not disturb each other."""
    buffer = np.zeros(10)
    Lion(1.0).update({"w": buffer[:5]}, {"w": np.ones(5)})
    Momentum(2.0).update({"w": buffer[5:]}, {"w": np.ones(5)})
    np.testing.assert_array_equal(buffer, [-1.0] * 5 + [-2.0] * 5)
