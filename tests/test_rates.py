"""The chapter's learning rates: its formulas, known values, and refusals."""

import math
from decimal import Decimal

import numpy as np
import pytest

from fastreg import cosine_annealing, step_decay, warmup_cosine, warmup_schedule
from fastreg.schedule import cosine, step, warmup

MILLION = 10**6
LAST = 2**53


def test_step_decay_has_the_chapters_defaults():
    assert [step_decay(e) for e in (0, 9, 10, 19, 20, 35)] == [0.1, 0.1, 0.05, 0.05, 0.025, 0.0125]
    assert step_decay(40, initial_lr=0.8, drop_factor=0.1, epochs_drop=20) == 0.8 * 0.1**2
    assert step_decay(9.99) == 0.1
    assert step_decay(LAST) == 0.0


def test_cosine_annealing_has_known_values():
    root2, root3 = float(Decimal(2).sqrt()), float(Decimal(3).sqrt())
    expected = {
        0: 0.1,
        25: 0.05 * (1 + root2 / 2),
        50: 0.05,
        75: 0.05 * (1 - root2 / 2),
        100: 0.0,
        101: 0.0,
        MILLION: 0.0,
    }
    for epoch, value in expected.items():
        assert cosine_annealing(epoch, 100) == pytest.approx(value, rel=1e-15, abs=1e-17)
    sixth = cosine_annealing(2, 12, lr_max=0.5, lr_min=0.1)
    assert sixth == pytest.approx(0.1 + 0.2 * (1 + root3 / 2), rel=1e-15)
    assert cosine_annealing(100, 100, lr_min=0.01) == 0.01
    assert cosine_annealing(1e9, 100, lr_min=0.01) == 0.01


def test_the_chapters_formulas_bit_for_bit():
    for e in range(130):
        low, high = 0.001, 0.1
        literal = low + 0.5 * (high - low) * (1 + math.cos(math.pi * e / 120)) if e < 120 else low
        assert cosine_annealing(e, 120, high, low) == literal
        assert cosine_annealing(e, 120) == cosine(0.1, 120)(e)
        assert step_decay(e) == 0.1 * 0.5 ** math.floor(e / 10) == step(0.1)(e)
        assert warmup_schedule(e) == (0.1 * (e + 1) / 5 if e < 5 else 0.1)


def test_warmup_reaches_its_target_exactly_and_never_exceeds_it():
    for warm in range(1, 200):
        values = [warmup_schedule(e, warm) for e in range(warm + 3)]
        assert values[warm - 1 :] == [0.1] * 4
        assert values == sorted(values)
        assert warmup_schedule(warm - 0.5, warm) == 0.1
    assert warmup_schedule(0, warmup_epochs=0) == 0.1
    assert warmup_schedule(0, 10, target_lr=0.5) == 0.05


def test_warmup_cosine_joins_its_two_halves():
    epochs = np.arange(150)
    joined = warmup_cosine(epochs, 10, 120, 0.3, 0.01)
    assert joined[:10].tolist() == warmup_schedule(epochs[:10], 10, 0.3).tolist()
    assert joined[10:].tolist() == cosine_annealing(epochs[:140], 110, 0.3, 0.01).tolist()
    assert warmup_cosine(65, 10, 120) == pytest.approx(0.05, rel=1e-15)
    assert warmup_cosine(epochs, 10, 120).tolist() == warmup(cosine(0.1, 110), 10)(epochs).tolist()
    assert warmup_cosine(epochs, 0, 100).tolist() == cosine_annealing(epochs, 100).tolist()


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
    (lambda: step_decay(0, drop_factor=1.5), ValueError, "step_decay: drop_factor"),
    (lambda: step_decay(0, epochs_drop=0), ValueError, "step_decay: epochs_drop"),
    (lambda: step_decay(0, epochs_drop=2.5), TypeError, "step_decay: epochs_drop"),
    (lambda: cosine_annealing(0, 0), ValueError, "cosine_annealing: total_epochs"),
    (lambda: cosine_annealing(0, -5), ValueError, "cosine_annealing: total_epochs"),
    (lambda: cosine_annealing(0, 10**400), ValueError, "cosine_annealing: total_epochs"),
    (lambda: step_decay([[1], [2, 3]]), TypeError, "step_decay: epoch"),
    (lambda: cosine_annealing(-1, 5), ValueError, "cosine_annealing: epoch"),
    (lambda: cosine_annealing(0, 5, lr_min=math.nan), ValueError, "cosine_annealing: lr_min"),
    (lambda: cosine_annealing(0, 5, lr_max="1"), TypeError, "cosine_annealing: lr_max"),
    (lambda: warmup_schedule(0, -1), ValueError, "warmup_schedule: warmup_epochs"),
    (lambda: warmup_schedule(0, 5, -0.1), ValueError, "warmup_schedule: target_lr"),
    (lambda: warmup_cosine(0, 5, 5), ValueError, "warmup_cosine: warmup_epochs"),
    (lambda: warmup_cosine(0, 6, 5), ValueError, "warmup_cosine: warmup_epochs"),
    (lambda: warmup_cosine(0, 1, 0), ValueError, "warmup_cosine: total_epochs"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD_CALLS)
def test_errors_name_the_function_and_the_argument(call, error, words):
    with pytest.raises(error, match=f"^{words} must"):
        call()
