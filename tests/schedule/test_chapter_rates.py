"""The chapter's learning rates: its formulas, known values, and refusals."""

import math
from decimal import Decimal

import numpy as np
import pytest

from fastreg import cosine_annealing, step_decay, warmup_cosine, warmup_schedule
from fastreg.schedule import constant, cosine, step, warmup

MILLION = 10**6
LAST = 2**53


def test_step_decay_has_the_chapters_defaults():
    assert [step_decay(e) for e in (0, 9, 10, 19, 20, 35)] == [0.1, 0.1, 0.05, 0.05, 0.025, 0.0125]
    assert step_decay(40, initial_lr=0.8, drop_factor=0.1, epochs_drop=20) == 0.8 * 0.1**2
    assert step_decay(9.99) == 0.1
    assert step_decay(LAST) == 0.0


def test_cosine_annealing_has_known_values_and_rises_again():
    root2, root3 = float(Decimal(2).sqrt()), float(Decimal(3).sqrt())
    expected = {
        0: 0.1,
        25: 0.05 * (1 + root2 / 2),
        50: 0.05,
        75: 0.05 * (1 - root2 / 2),
        100: 0.0,
        125: 0.05 * (1 - root2 / 2),
        150: 0.05,
        200: 0.1,
        MILLION: 0.1,
    }
    for epoch, value in expected.items():
        assert cosine_annealing(epoch, 100, lr_min=0.0) == pytest.approx(
            value, rel=1e-11, abs=1e-17
        )
    sixth = cosine_annealing(2, 12, lr_max=0.5, lr_min=0.1)
    assert sixth == pytest.approx(0.1 + 0.2 * (1 + root3 / 2), rel=1e-15)
    assert cosine_annealing(100, 100, lr_min=0.01) == 0.01
    assert cosine_annealing(100, 100) == 0.0001
    assert cosine_annealing(5, 2.5) == cosine_annealing(2, 1) == 0.1


def test_the_chapters_formulas_bit_for_bit():
    for e in range(260):
        low, high = 0.001, 0.1
        literal = low + 0.5 * (high - low) * (1 + math.cos(math.pi * e / 120))
        assert cosine_annealing(e, 120, high, low) == literal
        assert step_decay(e) == 0.1 * 0.5 ** math.floor(e / 10)
        assert step_decay(e + 0.5, 0.3, 1.5, 7.5) == 0.3 * 1.5 ** ((e + 0.5) // 7.5)
        assert warmup_schedule(e) == (0.1 * (e + 1) / 5 if e < 5 else 0.1)
        assert warmup_schedule(e / 4) == (0.1 * (e / 4 + 1) / 5 if e < 20 else 0.1)
        assert warmup_schedule(e, 3) == (0.1 * (e + 1) / 3 if e < 3 else 0.1)  # 0.1 and an ulp
        if e < 10:
            assert warmup_cosine(e) == 0.1 * (e + 1) / 10
            assert warmup_cosine(e, 5) == 0.1 * (e + 1) / 10  # a run of five epochs is warm-up
        else:
            progress = (e - 10) / (100 - 10)
            literal = 0.0001 + 0.5 * (0.1 - 0.0001) * (1 + math.cos(math.pi * progress))
            assert warmup_cosine(e) == pytest.approx(literal, rel=1e-12)


@pytest.mark.parametrize(("top", "low"), [(0.1, 0.0001), (0.3, 0.01), (0.7, 0.1), (0.1, 0.9)])
def test_schedules_are_the_same_computation_up_to_the_end(top, low):
    assert step_decay(range(300)).tolist() == step(0.1)(range(300)).tolist()
    for total in (1, 7, 120):
        epochs = range(total + 1)
        assert cosine_annealing(epochs, total, top, low).tolist() == [
            cosine(top, total, low)(e) for e in epochs
        ]
        for warm in (0, 1, 3, 10):
            joined = warmup(cosine(top, total, low), warm)(range(total + warm + 1)).tolist()
            alone = warmup_cosine(range(total + warm + 1), total + warm, warm, top, low).tolist()
            assert joined == alone
            assert warmup(constant(top), warm)(range(99)).tolist() == [
                warmup_schedule(e, warm, top) for e in range(99)
            ]


def test_numpy_numbers_and_arrays_are_epochs():
    calls = [step_decay, lambda e: cosine_annealing(e, 10), warmup_schedule, warmup_cosine]
    for call in calls:
        assert call(np.int64(3)) == call(np.float32(3)) == call(3.0) == call(3)
        assert call(np.arange(20)).tolist() == [call(e) for e in range(20)]
    assert warmup_cosine(3, np.int64(50), np.int32(5)) == warmup_cosine(3, 50.0, 5.0)
    assert warmup_schedule(0, warmup_epochs=0) == 0.1


BAD_CALLS = [
    (lambda: step_decay(-1), ValueError, "step_decay: epoch"),
    (lambda: step_decay(math.nan), ValueError, "step_decay: epoch"),
    (lambda: step_decay(True), TypeError, "step_decay: epoch"),
    (lambda: step_decay("3"), TypeError, "step_decay: epoch"),
    (lambda: step_decay(None), TypeError, "step_decay: epoch"),
    (lambda: step_decay([1, -1]), ValueError, "step_decay: epoch"),
    (lambda: step_decay([1, math.nan]), ValueError, "step_decay: epoch"),
    (lambda: step_decay(["a"]), TypeError, "step_decay: epoch"),
    (lambda: step_decay([True]), TypeError, "step_decay: epoch"),
    (lambda: step_decay(2 * LAST), ValueError, "step_decay: epoch"),
    (lambda: step_decay([2 * LAST]), ValueError, "step_decay: epoch"),
    (lambda: step_decay(0, -0.1), ValueError, "step_decay: initial_lr"),
    (lambda: step_decay(0, math.inf), ValueError, "step_decay: initial_lr"),
    (lambda: step_decay(0, True), TypeError, "step_decay: initial_lr"),
    (lambda: step_decay(0, drop_factor=0.0), ValueError, "step_decay: drop_factor"),
    (lambda: step_decay(0, drop_factor=math.nan), ValueError, "step_decay: drop_factor"),
    (lambda: step_decay(0, epochs_drop=0), ValueError, "step_decay: epochs_drop"),
    (lambda: step_decay(0, epochs_drop="2"), TypeError, "step_decay: epochs_drop"),
    (lambda: cosine_annealing(0, 0), ValueError, "cosine_annealing: total_epochs"),
    (lambda: cosine_annealing(0, -5), ValueError, "cosine_annealing: total_epochs"),
    (lambda: cosine_annealing(0, 10**400), ValueError, "cosine_annealing: total_epochs"),
    (lambda: step_decay([[1], [2, 3]]), TypeError, "step_decay: epoch"),
    (lambda: cosine_annealing(-1, 5), ValueError, "cosine_annealing: epoch"),
    (lambda: cosine_annealing(0, 5, lr_min=math.nan), ValueError, "cosine_annealing: lr_min"),
    (lambda: cosine_annealing(0, 5, lr_max="1"), TypeError, "cosine_annealing: lr_max"),
    (lambda: warmup_schedule(0, -1), ValueError, "warmup_schedule: warmup_epochs"),
    (lambda: warmup_schedule(0, 5, -0.1), ValueError, "warmup_schedule: base_lr"),
    (lambda: warmup_cosine(5, 5, 5), ValueError, "warmup_cosine: warmup_epochs"),
    (lambda: warmup_cosine([0, 6], 5, 5), ValueError, "warmup_cosine: warmup_epochs"),
    (lambda: warmup_cosine(0, 0, 1), ValueError, "warmup_cosine: total_epochs"),
    (lambda: warmup_cosine(0, 9, -1), ValueError, "warmup_cosine: warmup_epochs"),
    (lambda: warmup_cosine(0, 9, True), TypeError, "warmup_cosine: warmup_epochs"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD_CALLS)
def test_errors_name_the_function_and_the_argument(call, error, words):
    with pytest.raises(error, match=f"^{words} must"):
        call()
