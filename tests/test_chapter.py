"""The chapter's names: what they print and return, and their formulas in 25 digits of mpmath."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from golden import chapter_output

import fastreg
from fastreg import near_zero

GOLDEN = json.loads((Path(__file__).parent / "golden" / "chapter.json").read_text("utf-8"))
EPOCHS = GOLDEN["epochs"]
RATES = {
    "step_decay": lambda e: fastreg.step_decay(e),
    "cosine_annealing": lambda e: fastreg.cosine_annealing(e, 100),
    "cosine_annealing_floor": lambda e: fastreg.cosine_annealing(e, 100, lr_min=0.001),
    "warmup_schedule": lambda e: fastreg.warmup_schedule(e),
    "warmup_cosine": lambda e: fastreg.warmup_cosine(e),
    "warmup_cosine_short": lambda e: fastreg.warmup_cosine(e, 50, 5, 0.1, 0.01),
}


def layers():
    np.random.seed(42)
    return [np.random.randn(4, 3) * 0.1, np.random.randn(3, 2) * 0.01]


def close(actual, text, ulps):
    """Within some units in the last place of the exact value, or 1e-17 of 0."""
    exact = Fraction(text)
    unit = max(float(np.spacing(abs(float(exact)))), 1e-17)
    return abs(Fraction(float(actual)) - exact) <= ulps * Fraction(unit)


def test_the_seed_still_draws_these_weights():
    assert [layer.tolist() for layer in layers()] == GOLDEN["weights"]


@pytest.mark.parametrize("golden", GOLDEN["penalties"], ids=lambda row: str(row["lambda"]))
def test_penalties(golden):
    weights, strength = layers(), golden["lambda"]
    for name in ("l1_regularization_loss", "l2_regularization_loss"):
        assert close(getattr(fastreg, name)(weights, strength), golden[name], 4)
    for name in ("l1_gradient", "l2_gradient"):
        flat = np.concatenate([g.ravel() for g in getattr(fastreg, name)(weights, strength)])
        assert len(flat) == len(golden[name])
        assert all(close(g, text, 0.5) for g, text in zip(flat, golden[name], strict=True))
    assert near_zero(weights).count == golden["near_zero"]


@pytest.mark.parametrize("name", RATES)
def test_rates(name):
    found = [RATES[name](epoch) for epoch in EPOCHS]
    assert found == RATES[name](EPOCHS).tolist()
    for epoch, rate, text in zip(EPOCHS, found, GOLDEN["rates"][name], strict=True):
        assert close(rate, text, 4), f"epoch {epoch}: {rate!r} for {text}"


def test_everything_printed_and_every_signature_is_the_chapters(capsys):
    text = (Path(__file__).parent / "golden" / "chapter_output.txt").read_text("utf-8")
    chapter_output.main(fastreg)
    found, expected = capsys.readouterr().out.splitlines(), text.splitlines()
    assert [line for line in found if line not in expected] == []
    assert found == expected
