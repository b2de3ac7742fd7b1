"""Verdicts on curves of known kind."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreg import diagnose

EPOCHS = np.arange(60)


def decay(start, end, speed=0.15):
    return end + (start - end) * np.exp(-speed * EPOCHS)


KINDS = {
    "good fit": [
        (decay(2.3, 0.05), decay(2.3, 0.09)),
        (decay(2.3, 0.20), decay(2.3, 0.15)),  # dropout makes the training loss the larger one
        (0.02, 0.03),
    ],
    "underfitting": [
        (decay(2.3, 1.8), decay(2.3, 1.85)),
        (np.full(60, 2.3), np.full(60, 2.3)),
        (decay(2.3, 1.2), decay(2.3, 2.2)),  # a high training error comes first
        (0.4, 0.42),
    ],
    "overfitting": [
        (decay(2.3, 0.01), decay(2.3, 0.4)),
        (decay(2.3, 0.01), decay(2.3, 0.2, 0.3) + 0.01 * EPOCHS),
        (decay(2.3, 0.3), decay(2.3, 0.05, 0.5) + 0.004 * EPOCHS),  # rising, still below training
        (0.01, 0.2),
    ],
    "diverging": [
        (decay(2.3, 0.1) + 0.05 * EPOCHS, decay(2.3, 0.1) + 0.05 * EPOCHS),
        (2.3 * 1.2**EPOCHS, 2.3 * 1.2**EPOCHS),
        (math.nan, 0.1),
        (0.1, math.inf),
    ],
}
CASES = [(kind, *curves) for kind, rows in KINDS.items() for curves in rows]


@pytest.mark.parametrize(("kind", "train", "val"), CASES)
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_curves_of_known_kind(kind, train, val, scale):
    rng = np.random.default_rng(0)
    single = np.ndim(train) == 0
    if not single:
        train, val = (c * (1 + 0.01 * rng.standard_normal(60)) for c in (train, val))
    verdict = diagnose(
        np.multiply(train, scale), np.multiply(val, scale), baseline=scale if single else None
    )
    assert verdict.verdict == kind
    assert verdict.reason
    assert str(verdict) == f"{kind}: {verdict.reason}; {verdict.suggestion}"


@settings(derandomize=True, max_examples=100)
@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=20),
    st.lists(st.floats(0, 1e6), min_size=1, max_size=20),
    st.data(),
)
def test_never_a_good_fit_on_nan_and_never_a_crash(train, val, data):
    assert diagnose(train, val).verdict in KINDS
    spoilt = data.draw(st.sampled_from([train, val]))
    spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(
        st.sampled_from([math.nan, math.inf])
    )
    assert diagnose(train, val).verdict == "diverging"


def test_evidence_and_reason_carry_the_numbers():
    result = diagnose(0.02, 0.30)
    assert result.evidence["train_error"] == 0.02
    assert result.evidence["gap"] == pytest.approx(0.28)
    assert result.evidence["gap_limit"] == 0.03
    assert "0.28" in result.reason
    assert "drop_rate" in result.suggestion
    rising = diagnose([1.0, 0.1, 0.05, 0.01, 0.01], [1.0, 0.2, 0.3, 0.4, 0.5], window=1)
    assert rising.evidence["best_epoch"] == 1
    assert rising.evidence["val_rise"] == pytest.approx(0.3)
    assert "since epoch 1" in rising.reason
    assert "EarlyStopping" in rising.suggestion
    assert diagnose([1.0, 0.5, math.nan], [1.0] * 3).evidence == {"first_nonfinite_epoch": 2}


def test_underfitting_asks_for_epochs_only_while_still_falling():
    falling = np.linspace(2.0, 1.0, 40)
    assert "epochs" in diagnose(falling, falling).suggestion
    assert "drop_rate" in diagnose(np.r_[falling, np.full(20, 1.0)], falling).suggestion


def test_thresholds_are_arguments():
    assert diagnose(0.1, 0.14).verdict == "overfitting"
    assert diagnose(0.1, 0.14, gap_floor=0.05).verdict == "good fit"
    assert diagnose(0.1, 0.14, gap_ratio=0.3).verdict == "good fit"
    assert diagnose(0.1, 0.14, high_error=0.05).verdict == "underfitting"
    assert diagnose(0.1, 0.14, baseline=0.3).verdict == "underfitting"
    bump = [1.0, 0.1, 0.2]
    assert diagnose(bump, bump).verdict == "good fit"
    assert diagnose(bump, bump, divergence=0.05).verdict == "diverging"


@pytest.mark.parametrize(
    ("args", "options", "error", "words"),
    [
        (([], [0.1]), {}, ValueError, "train must be one number or a curve"),
        ((0.1, [[0.1]]), {}, ValueError, "val must be one number or a curve"),
        ((-0.1, 0.1), {}, ValueError, "train must be errors of at least 0"),
        (("a", 0.1), {}, TypeError, "train must be numbers"),
        (([[1.0], [1.0, 2.0]], 0.1), {}, TypeError, "train must be numbers"),
        ((None, 0.1), {}, TypeError, "train must be numbers"),
        ((True, 0.1), {}, TypeError, "train must be numbers"),
        ((0.1, 0.1), {"baseline": 0.0}, ValueError, "baseline must be"),
        ((0.1, 0.1), {"high_error": math.nan}, ValueError, "high_error must be"),
        ((0.1, 0.1), {"gap_ratio": -1}, ValueError, "gap_ratio must be"),
        ((0.1, 0.1), {"gap_floor": "0"}, TypeError, "gap_floor must be"),
        ((0.1, 0.1), {"divergence": True}, TypeError, "divergence must be"),
        ((0.1, 0.1), {"window": 0}, ValueError, "window must be"),
    ],
)
def test_diagnose_names_the_bad_argument(args, options, error, words):
    with pytest.raises(error, match=f"^diagnose: {words}"):
        diagnose(*args, **options)
