"""Lengths in epochs and shares of a fit: their spelling, their steps, and what they leave alone."""

import copy
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastreg
from fastreg import ReduceOnPlateau
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

RUN = {"steps_per_epoch": 20, "epochs": 10}  # 200 steps

# with lengths of a run, and the same in its steps
PAIRS = [
    (step(0.1, 0.5, every="3 epochs"), step(0.1, 0.5, 60)),
    (multi_step(0.1, ["2 epochs", 50, "75%"]), multi_step(0.1, [40, 50, 150])),
    (exponential(0.1, 0.5, decay_steps="1 epoch"), exponential(0.1, 0.5, decay_steps=20)),
    (inverse_time(0.1, 0.5, decay_steps="10%"), inverse_time(0.1, 0.5, decay_steps=20)),
    (polynomial(0.1, 0.0, total="fit"), polynomial(0.1, 0.0, 200)),
    (linear(0.1, 0.0, total="5 epochs"), linear(0.1, 0.0, 100)),
    (linear(0.1, 0.0, "50%"), linear(0.1, 0.0, 100)),
    (cosine(0.1, total="fit"), cosine(0.1, 200)),
    (cosine(0.1, "0.5 epochs", 0.01), cosine(0.1, 10, 0.01)),
    (warm_restarts(0.1, "2 epochs"), warm_restarts(0.1, 40)),
    (one_cycle(0.1, total="fit"), one_cycle(0.1, 200)),
    (warmup_stable_decay(0.1, "5%", "75%", "20%"), warmup_stable_decay(0.1, 10, 150, 40)),
    (warmup_stable_decay(0.1, "1 epoch", "fit", "20%"), warmup_stable_decay(0.1, 20, 140, 40)),
    (warmup_stable_decay(0.1, 5, "3 epochs", "fit"), warmup_stable_decay(0.1, 5, 60, 135)),
    (warmup_stable_decay(0.1, 250, "fit", "fit"), warmup_stable_decay(0.1, 250, 0, 1)),
    (join([constant(0.1), cosine(0.1, "fit")], ["4 epochs"]),
     join([constant(0.1), cosine(0.1, 120)], [80])),
    (join([constant(0.1), step(0.1), linear(0.1, 0, "fit")], [10, "50%"]),
     join([constant(0.1), step(0.1), linear(0.1, 0, 100)], [10, 100])),
    (warmup(cosine(0.1, total="fit"), "5%"), warmup(cosine(0.1, 190), 10)),
    (warmup(cosine(0.1, total="fit")), warmup(cosine(0.1, 195), 5)),
    (warmup(constant(0.1), "0 epochs"), warmup(constant(0.1), 0)),
    (warmup(warmup(cosine(0.1, "fit"), "1 epoch"), "1 epoch"),
     warmup(warmup(cosine(0.1, 160), 20), 20)),
]  # fmt: skip
IDS = [repr(pair[0])[:60] for pair in PAIRS]


def test_every_family_with_a_length_is_in_the_table():
    here = {type(unbound).__name__ for unbound, _ in PAIRS} | {"linear", "constant"}
    assert here == set(module.__all__)


@pytest.mark.parametrize(("unbound", "bound"), PAIRS, ids=IDS)
def test_a_run_makes_steps_of_lengths(unbound, bound):
    found = unbound.bind(**RUN)
    assert found == bound
    assert found(range(260)).tolist() == bound(range(260)).tolist()
    assert bound.bind(**RUN) is bound  # there is nothing to do


@pytest.mark.parametrize("unbound", [pair[0] for pair in PAIRS], ids=IDS)
def test_until_then_it_is_a_value_that_cannot_be_called(unbound):
    for same in (
        pickle.loads(pickle.dumps(unbound)),
        copy.deepcopy(unbound),
        eval(repr(unbound), vars(module)),
    ):
        assert same == unbound
        assert hash(same) == hash(unbound)
        assert same != unbound.bind(**RUN)
        for call, argument in ((same, 0), (same, [0, 1]), (same.curve, 3)):
            with pytest.raises(RuntimeError, match=r"Trainer\(schedule=.*bind\(steps_per_epoch="):
                call(argument)
    optimizer, params = fastreg.SGD(unbound), {"w": np.zeros(1)}
    with pytest.raises(RuntimeError, match="bind"):
        optimizer.update(params, params)


@pytest.mark.parametrize(
    ("text", "kept"),
    [("fit", "fit"), (" fit ", "fit"), ("1 epochs", "1 epoch"), ("2epoch", "2 epochs"),
     ("1.50 epochs", "1.5 epochs"), ("007.0  epochs", "7 epochs"), ("5 %", "5%"), ("0.10%", "0.1%"),
     ("100%", "100%")],
)  # fmt: skip
def test_a_length_has_one_spelling(text, kept):
    assert cosine(0.1, text).total_steps == kept
    assert cosine(0.1, text) == cosine(0.1, total=kept)


@settings(derandomize=True, max_examples=80)
@given(
    st.integers(1, 10**6),
    st.integers(1, 1000),
    st.integers(1, 10**5),
    st.sampled_from(["epochs", "%"]),
)
def test_lengths_are_rounded_exactly_and_never_to_nothing(per_epoch, epochs, amount, unit):
    share = Fraction(amount, 1000)
    wanted = share * (per_epoch if unit == "epochs" else Fraction(per_epoch * epochs, 100))
    found = cosine(0.1, f"{amount / 1000:.3f} {unit}")
    steps = found.bind(steps_per_epoch=per_epoch, epochs=epochs).total_steps
    assert steps == max(1, round(wanted))


def test_epochs_need_no_number_of_epochs():
    assert step(0.1, every="2 epochs").bind(steps_per_epoch=7) == step(0.1, drop_every=14)
    mixed = join([step(0.1, every="1 epoch"), cosine(0.1, "fit")], [5])
    with pytest.raises(ValueError, match=r"^join\.bind: epochs must be given"):
        mixed.bind(steps_per_epoch=7)


def test_members_that_are_no_families_stay_the_same_objects():
    plateau = ReduceOnPlateau(0.1)
    joined = join([plateau, lambda t: 0.2, cosine(0.1, "fit")], ["1 epoch", "2 epochs"])
    found = joined.bind(**RUN)
    assert found.schedules[:2] == joined.schedules[:2]
    assert found.schedules[0] is plateau
    assert found.schedules[2] == cosine(0.1, 160)


BAD = [
    (lambda: cosine(0.1, "many"), ValueError, "cosine: total_steps"),
    (lambda: cosine(0.1, total="many"), ValueError, "cosine: total_steps"),
    (lambda: cosine(0.1, total=1.5), TypeError, "cosine: total_steps"),
    (lambda: cosine(0.1, ""), ValueError, "cosine: total_steps"),
    (lambda: cosine(0.1, "0 epochs"), ValueError, "cosine: total_steps"),
    (lambda: cosine(0.1, "-1 epochs"), ValueError, "cosine: total_steps"),
    (lambda: cosine(0.1, "1e3 epochs"), ValueError, "cosine: total_steps"),
    (lambda: cosine(0.1, "10"), ValueError, "cosine: total_steps"),
    (lambda: cosine(0.1, "101%"), ValueError, "cosine: total_steps"),
    (lambda: cosine(0.1, "9" * 5000 + " epochs"), ValueError, "cosine: total_steps"),
    (lambda: cosine(0.1, b"fit"), TypeError, "cosine: total_steps"),
    (lambda: warmup(constant(0.1), "-5%"), ValueError, "warmup: warmup_steps"),
    (lambda: step(0.1, every="x"), ValueError, "step: drop_every"),
    (lambda: linear(0.1, 0.0, None), TypeError, "linear: total_steps"),
    (lambda: multi_step(0.1, "fit"), TypeError, "multi_step: milestones"),
    (lambda: multi_step(0.1, ["2 epochs", "1 epoch"]), ValueError, "multi_step: milestones"),
    (lambda: multi_step(0.1, ["fit", "100%"]), ValueError, "multi_step: milestones"),
    (lambda: join([constant(1)] * 3, ["5%", "5 %"]), ValueError, "join: boundaries"),
    (lambda: join([constant(1)] * 3, ["1 epoch", 5]).bind(**RUN), ValueError, "join: boundaries"),
    (lambda: cosine(0.1, 5).bind(steps_per_epoch=0), ValueError, "cosine.bind: steps_per_epoch"),
    (lambda: cosine(0.1, 5).bind(steps_per_epoch=1.0), TypeError, "cosine.bind: steps_per_epoch"),
    (lambda: cosine(0.1, 5).bind(steps_per_epoch=1, epochs=0), ValueError, "cosine.bind: epochs"),
    (lambda: cosine(0.1, "fit").bind(steps_per_epoch=2**52, epochs=9), ValueError, "cosine: total"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_errors_name_the_function_and_the_argument(call, error, words):
    with pytest.raises(error, match=f"^{words}.* must"):
        call()


@pytest.mark.parametrize(
    "call",
    [lambda: cosine(0.1, 5, total=6), lambda: step(0.1, drop_every=5, every=6),
     lambda: linear(0.1, 0.0, 5, total=6), lambda: step(0.1, 0.5, 5, every="fit")],
)  # fmt: skip
def test_a_length_is_given_once(call):
    with pytest.raises(TypeError, match="are one argument"):
        call()


def test_positive_lengths_round_to_a_step_and_stay_finite():
    tiny = warmup(cosine(0.1, total="fit"), "90 epochs").bind(**RUN)
    assert tiny.schedule.total_steps == 1  # the fit ends within the warm-up
    assert math.isfinite(tiny(200))
