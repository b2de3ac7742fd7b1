"""Hyper-parameters in time and by group: schedules, groups, assigned values."""

import warnings

import harness
import numpy as np
import pytest
from harness import step

import fastreg
from fastreg import SGD, optim, reference

RULES = optim.__all__


# --- groups -------------------------------------------------------------------------------


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
def test_parameters_of_every_group_count_their_own_steps(rule, rng):
    options = {"groups": {"b": {"learning_rate": 0.3}, "c": {"learning_rate": 0.2}}}
    fast, slow = (getattr(module, rule)(0.1, **options) for module in (optim, reference))
    params = {name: np.ones(3) for name in "abc"}
    expected = {name: p.copy() for name, p in params.items()}
    for names in ("ab", "a", "b", "abc"):
        grads = {name: rng.normal(size=3) for name in names}
        for optimizer, values in ((fast, params), (slow, expected)):
            optimizer.update({name: values[name] for name in names}, grads)
    for name in params:
        harness.same_bits(params[name], expected[name])
    state = fast.state_dict()
    assert dict(zip(state["names"], state["steps"], strict=True)) == {"a": 3, "b": 3, "c": 1}
    assert state["memory"] == [slow.memory[name] for name in state["names"]]
    assert fast.t == 4


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy 2.5
        params["w"].dtype = np.int64
    with pytest.raises(TypeError, match="int64"):
        optimizer.update(params, {"w": np.ones(2, np.int64)})


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
