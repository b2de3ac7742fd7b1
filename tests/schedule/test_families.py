"""Schedules against closed forms written out here, and against properties of all of them."""

import inspect
import math
import pickle
from decimal import Decimal, getcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastreg
from fastreg import ReduceOnPlateau, warmup_cosine
from fastreg import schedule as module
from fastreg.schedule import (
    constant,
    cosine,
    exponential,
    inverse_time,
    join,
    linear,
    multi_step,
    one_cycle,
    polynomial,
    step,
    warm_restarts,
    warmup,
    warmup_stable_decay,
)

MILLION = 10**6
LAST = 2**53

# schedule, value at 0, value at a million, value at 2**53
SCHEDULES = [
    (constant(0.1), 0.1, 0.1, 0.1),
    (step(0.1, 0.999, 1000), 0.1, 0.1 * 0.999**1000, 0.0),
    (multi_step(0.1, [10, MILLION, MILLION + 1], 0.5), 0.1, 0.025, 0.0125),
    (exponential(0.1, 0.5, decay_steps=MILLION // 4), 0.1, 0.1 / 16, 0.0),
    (inverse_time(0.1, 3.0, decay_steps=MILLION), 0.1, 0.025, 0.1 / (1 + 3 * (LAST / MILLION))),
    (polynomial(0.3, 0.1, 2 * MILLION, power=2.0), 0.3, 0.15, 0.1),
    (linear(0.3, 0.1, 2 * MILLION), 0.3, 0.2, 0.1),
    (cosine(0.3, 4 * MILLION, 0.1), 0.3, 0.1 + 0.1 * (1 + math.sqrt(0.5)), 0.1),
    (warm_restarts(0.3, 4, 0.1), 0.3, 0.3, 0.3),
    (
        warm_restarts(0.3, 1, 0.1, period_factor=2, peak_factor=0.5),
        0.3,
        # restart k comes at 2**k - 1; 2**19 - 1 is the last before a million
        0.1 + 0.2 * 0.5**19 * (1 + math.cos(math.pi * (MILLION - 2**19 + 1) / 2**19)) / 2,
        # 2**53 is step 1 of descent 53
        0.1 + 0.2 * 0.5**53 * (1 + math.cos(math.pi / 2**53)) / 2,
    ),
    (one_cycle(0.1, 2 * MILLION, warmup_fraction=0.5), 0.004, 0.1, 4e-7),
    (warmup_stable_decay(0.1, 10, 0, 2 * MILLION - 20), 0.01, 0.1 * (MILLION - 10) / (2e6 - 20), 0),
    (join([constant(0.2), linear(0.4, 0.2, 20)], [MILLION - 10]), 0.2, 0.3, 0.2),
    (warmup(cosine(0.1, 2 * (MILLION - 5)), 5), 0.02, 0.05, 0.0),
]
IDS = [repr(row[0])[:40] for row in SCHEDULES]
PLAIN = [row[0] for row in SCHEDULES]


@pytest.mark.parametrize(("schedule", "first", "million", "last"), SCHEDULES, ids=IDS)
def test_closed_form_at_the_ends_and_at_a_million_steps(schedule, first, million, last):
    assert schedule(0) == pytest.approx(first, rel=4e-16)
    assert schedule(MILLION) == pytest.approx(million, rel=1e-12)
    assert schedule(LAST) == pytest.approx(last, rel=1e-15)


def test_every_family_is_in_the_table():
    families = {type(schedule).__name__ for schedule in PLAIN} | {"linear"}
    assert families == set(module.__all__)


POSITIONAL = {
    "constant": "value",
    "cosine": "initial_value total_steps final_value",
    "exponential": "initial_value decay_rate",
    "inverse_time": "initial_value decay_rate",
    "join": "schedules boundaries",
    "linear": "initial_value final_value total_steps",
    "multi_step": "initial_value milestones drop_factor",
    "one_cycle": "peak_value total_steps",
    "polynomial": "initial_value final_value total_steps",
    "step": "initial_value drop_factor drop_every",
    "warm_restarts": "initial_value period final_value",
    "warmup": "schedule warmup_steps",
    "warmup_stable_decay": "peak_value warmup_steps stable_steps decay_steps",
}


@pytest.mark.parametrize("name", module.__all__)
def test_further_arguments_are_given_by_name(name):
    parameters = inspect.signature(getattr(module, name)).parameters.values()
    positional = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    assert positional == POSITIONAL[name].split()


@pytest.mark.parametrize("schedule", PLAIN, ids=IDS)
def test_arrays_pickles_reprs_and_curves(schedule):
    steps = np.array([[0, 1, 7], [MILLION, LAST, 3]])
    values = schedule(steps)
    assert values.shape == steps.shape
    assert values.dtype == np.float64
    assert values.tolist() == [[schedule(int(t)) for t in row] for row in steps]
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    rebuilt = eval(repr(schedule), vars(module))
    assert rebuilt == schedule
    assert hash(rebuilt) == hash(schedule)
    t, curve = schedule.curve(5)
    assert t.tolist() == [0, 1, 2, 3, 4]
    assert curve.tolist() == [schedule(i) for i in range(5)]
    with pytest.raises(AttributeError):
        setattr(schedule, next(iter(type(schedule).__slots__)), 1.0)


@pytest.mark.parametrize("schedule", PLAIN, ids=IDS)
def test_numpy_scalars_lists_ranges_fractions_and_nothing(schedule):
    assert schedule(np.int32(7)) == schedule(7) == schedule(7.0) == schedule(np.float32(7))
    assert schedule([1, 2]).tolist() == schedule(range(1, 3)).tolist()
    assert math.isfinite(schedule(2.5))
    assert schedule([]).tolist() == []
    assert type(schedule(np.int64(3))) is float
    assert schedule(np.array([1, 2], np.float16)).tolist() == schedule([1, 2]).tolist()


@settings(derandomize=True, max_examples=60)
@given(st.sampled_from(PLAIN), st.integers(0, 3 * MILLION))
def test_values_are_pure_and_stay_between_the_extremes(schedule, t):
    value = schedule(t)
    assert value == schedule(t)
    assert 0.0 <= value <= 0.4 * (1 + 1e-15)


@settings(derandomize=True, max_examples=60)
@given(
    st.floats(0, 10),
    st.floats(0, 10),
    st.integers(1, LAST),
    st.floats(0.1, 5),
    st.integers(0, LAST),
)
def test_descents_hit_both_ends_exactly_and_stay(start, end, total, power, beyond):
    for schedule in (cosine(start, total, end), polynomial(start, end, total, power=power)):
        assert schedule(0) == start
        assert schedule(total) == end
        assert schedule(max(total, beyond)) == end


# --- recursion against closed form, over a million steps ----------------------------------


def test_a_million_steps_of_recursion_agree_with_the_closed_forms():
    getcontext().prec = 40
    rate = Decimal.from_float(0.99999)
    exact = float(Decimal.from_float(0.1) * rate**MILLION)
    assert exponential(0.1, 0.99999)(MILLION) == pytest.approx(exact, rel=1e-13)
    assert step(0.1, 0.99999, 1)(MILLION) == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize(("period", "factor"), [(1, 1), (7, 1), (1, 2), (5, 3)])
def test_restarts_fall_where_counting_step_by_step_puts_them(period, factor):
    schedule = warm_restarts(1.0, period, period_factor=factor, peak_factor=0.5)
    t, length, descent = 0, period, 0
    for now in range(200_000):
        if t == length:
            t, length, descent = 0, length * factor, descent + 1
        if t == 0:
            assert schedule(now) == 0.5**descent
        t += 1
    start = LAST - LAST % period
    if factor == 1:
        again = warm_restarts(1.0, period)
        assert [again(start - period + i) for i in range(period)] == [
            again(i) for i in range(period)
        ]


def test_schedules_may_grow():
    assert step(0.125, 2.0, 10)([0, 10, 35]).tolist() == [0.125, 0.25, 1.0]
    assert multi_step(0.125, [2, 3], 2.0)([0, 2, 3]).tolist() == [0.125, 0.25, 0.5]
    assert exponential(0.125, 4.0, decay_steps=2)([0, 1, 2]).tolist() == [0.125, 0.25, 0.5]
    assert warm_restarts(0.5, 2, peak_factor=2.0)([0, 2, 4]).tolist() == [0.5, 1.0, 2.0]
    assert warm_restarts(0.25, 2, 0.5, peak_factor=4.0)(2) == 0.0  # not below 0
    assert cosine(0.1, 10, 0.4)([0, 10]).tolist() == [0.1, 0.4]


@pytest.mark.parametrize(
    ("schedule", "at", "value"),
    [
        (exponential(1e-300, 2.0), 1100, 1e-300 * 2.0**550 * 2.0**550),  # 2**1100 is out of range
        (exponential(1e300, 0.5), 1100, 1e300 * 0.5**550 * 0.5**550),
        (step(0.1, 2.0, 1), LAST, math.inf),
        (step(0.0, 2.0, 1), LAST, 0.0),
        (step(0.1, 0.5, 1), LAST, 0.0),
        (exponential(10.0, 0.5), LAST, 0.0),
        (exponential(0.1, 2.0), LAST, math.inf),
    ],
)
def test_growth_keeps_to_the_range_of_float64(schedule, at, value):
    assert schedule(at) == value


# --- combining ----------------------------------------------------------------------------


def test_join_hands_over_on_the_boundary_and_restarts_the_clock():
    seen = []
    spies = [lambda t, k=k: seen.append((k, t)) or 0.0 for k in range(3)]
    joined = join(spies, [3, 5])
    for t in (0, 2, 3, 4, 5, 100):
        joined(t)
    assert seen == [(0, 0), (0, 2), (1, 0), (1, 1), (2, 0), (2, 95)]
    assert join([constant(0.5)], [])(9) == 0.5


def test_warmup_of_anything_callable():
    falling = warmup(lambda t: 0.8 - 0.2 * t, 4)
    assert falling([0, 1, 3, 4, 6]).tolist() == [0.2, 0.4, 0.8, 0.8, 0.4]
    assert warmup(warmup(constant(1.0), 2), 2)([0, 1, 2, 3]).tolist() == [0.25, 0.5, 0.5, 1.0]


def test_one_cycle_and_stable_decay_at_their_joins():
    cycle = one_cycle(0.5, 1000, warmup_fraction=0.3, div_factor=10.0, final_div_factor=100.0)
    assert cycle([0, 300, 1000, 5000]).tolist() == [0.05, 0.5, 0.0005, 0.0005]
    assert cycle(150) == pytest.approx(0.275, rel=1e-15)
    assert one_cycle(0.5, 10, warmup_fraction=0.0)(0) == 0.5
    plateau = warmup_stable_decay(0.5, 4, 10, 16, final_value=0.1, decay_power=0.5)
    assert plateau([0, 3, 4, 14, 18, 30, 99]).tolist() == [0.125, 0.5, 0.5, 0.5, 0.3, 0.1, 0.1]


# --- bad input ----------------------------------------------------------------------------

BAD_CALLS = [
    (lambda: constant(-1), ValueError, "constant: value"),
    (lambda: constant(0.1)(-1), ValueError, "constant: step"),
    (lambda: constant(0.1).curve(0), ValueError, "constant: n_steps"),
    (lambda: constant(0.1)([[1], [2, 3]]), TypeError, "constant: step"),
    (lambda: constant(0.1)([1, math.inf]), ValueError, "constant: step"),
    (lambda: cosine(0.1, 10**400), ValueError, "cosine: total_steps"),
    (lambda: warm_restarts(0.1, 2 * LAST), ValueError, "warm_restarts: period"),
    (lambda: cosine(0.1, 0), ValueError, "cosine: total_steps"),
    (lambda: cosine(0.1, 10.0), TypeError, "cosine: total_steps"),
    (lambda: exponential(0.1, 0.0), ValueError, "exponential: decay_rate"),
    (lambda: step(0.1, -2.0), ValueError, "step: drop_factor"),
    (lambda: polynomial(0.1, 0.0, 5, power=0.0), ValueError, "polynomial: power"),
    (lambda: multi_step(0.1, [5, 5]), ValueError, "multi_step: milestones"),
    (lambda: multi_step(0.1, 5), TypeError, "multi_step: milestones"),
    (lambda: multi_step(0.1, "12"), TypeError, "multi_step: milestones"),
    (lambda: warm_restarts(0.1, 5, period_factor=1.5), TypeError, "warm_restarts: period_factor"),
    (lambda: one_cycle(0.1, 5, warmup_fraction=1.0), ValueError, "one_cycle: warmup_fraction"),
    (lambda: one_cycle(0.1, 5, div_factor=0.5), ValueError, "one_cycle: div_factor"),
    (lambda: join([], []), ValueError, "join: schedules"),
    (lambda: join(constant(1), []), TypeError, "join: schedules"),
    (lambda: join([0.1, 0.2], [5]), TypeError, "join: schedules"),
    (lambda: join([constant(1)] * 2, [5, 6]), ValueError, "join: boundaries"),
    (lambda: join([constant(1)] * 3, [6, 5]), ValueError, "join: boundaries"),
    (lambda: warmup(0.1, 5), TypeError, "warmup: schedule"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD_CALLS)
def test_errors_name_the_function_and_the_argument(call, error, words):
    with pytest.raises(error, match=f"^{words} must"):
        call()


# --- driving an optimizer -----------------------------------------------------------------

DRIVERS = {
    "family": warmup(cosine(0.1, 8), 2),
    "chapter": lambda t: warmup_cosine(t, 10, 2),
    "plateau": ReduceOnPlateau(0.1),
}


@pytest.mark.parametrize("driver", DRIVERS.values(), ids=DRIVERS)
@pytest.mark.parametrize("rule", fastreg.optim.__all__)
def test_any_schedule_drives_any_optimizer_as_assigned_numbers_do(rule, driver, rng):
    driven, steered = (getattr(fastreg, rule)(weight_decay=0.0) for _ in range(2))
    driven.lr = driven.weight_decay = driver
    params, expected = {"w": np.ones(7)}, {"w": np.ones(7)}
    for t in range(12):
        grads = {"w": rng.normal(size=7)}
        steered.lr = steered.weight_decay = driver(t)
        driven.update(params, grads)
        steered.update(expected, grads)
        assert params["w"].tolist() == expected["w"].tolist()


@pytest.mark.parametrize("driver", DRIVERS.values(), ids=DRIVERS)
def test_any_schedule_drives_a_rate_and_a_decay(driver):
    """The step after t others takes the value at t: descent adds rates up, decay multiplies."""
    values = [driver(t) for t in range(12)]
    descended, decayed = {"w": np.zeros(3)}, {"w": np.ones(3)}
    descent = fastreg.SGD(driver)
    decay = fastreg.SGD(0.5, weight_decay=driver)
    for _ in values:
        descent.update(descended, {"w": np.ones(3)})
        decay.update(decayed, {"w": np.zeros(3)})
    np.testing.assert_allclose(descended["w"], -math.fsum(values), rtol=1e-14)
    np.testing.assert_allclose(decayed["w"], math.prod(1 - 0.5 * v for v in values), rtol=1e-14)
