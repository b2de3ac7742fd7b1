"""Exercise 1 of the lab: what the penalties do to weights and inputs, in the real setting."""

import numpy as np
import pytest

for package in ("jinja2", "joblib", "matplotlib", "sklearn", "tqdm"):
    pytest.importorskip(package, reason="needs the extra 'lab'")

from fastreg.lab import l1_inputs, l1_vs_l2  # noqa: E402


@pytest.fixture(scope="module")
def digits():
    return l1_vs_l2.run(seeds=3, strengths=(0.001, 0.003, 0.01), jobs=2)


def test_l1_has_more_weights_near_zero_than_l2_and_l2_more_than_none(digits):
    none, ridge, lasso, prox = (digits.get("near_zero", p) for p in l1_vs_l2.PENALTIES)
    assert (ridge > 2 * none).all() and (lasso > 3 * ridge).all()
    np.testing.assert_allclose(prox, lasso, atol=0.05)  # the same minimum, found in two ways
    for strength in digits.strengths:
        l1, l2 = (digits.get("near_zero", p, strength) for p in ("L1", "L2"))
        assert (l1 > l2).all()
    assert "L1 leaves more weights near 0 than L2." in digits.conclusion()


def test_only_the_proximal_step_reaches_exact_zeros(digits):
    none, ridge, lasso, prox = (digits.get("zeros", p) for p in l1_vs_l2.PENALTIES)
    assert (prox > 0.1).all() and max(*none, *ridge, *lasso) < 0.001
    shares = [digits.get("zeros", "proximal L1", s).mean() for s in digits.strengths]
    assert shares == sorted(shares)


def test_the_histogram_counts_every_weight_and_its_middle_bin_those_near_zero(digits):
    for one in digits.outcomes:
        assert 0.9 < sum(one["histogram"]) <= 1 + 1e-9
        assert one["histogram"][30] == pytest.approx(one["near_zero"], abs=1e-3)


def test_data_cannot_lift_the_weights_that_l1_holds_at_zero(digits):
    assert digits.get("held", "proximal L1").min() > 0.95
    assert "does not fade" in digits.conclusion()


def test_penalties_help_against_noisy_labels_and_strengths_are_chosen_on_validation(digits):
    for penalty in ("L2", "L1", "proximal L1"):
        assert (digits.get("test_score", penalty) > digits.get("test_score", "no penalty")).all()
        losses = {s: digits.get("val_loss", penalty, s).mean() for s in digits.strengths}
        assert losses[digits.best[penalty]] == min(losses.values())


def test_l1_switches_off_useless_inputs_and_keeps_the_informative():
    result = l1_inputs.run("synthetic", seeds=3, strengths=(0.01, 0.03, 0.1), jobs=2)
    assert result.keeping == 0.03
    useless, informative = result.off("proximal L1", 0.03)
    assert (useless > 0.6).all() and not informative.any()
    assert not np.any(result.off("L2", 0.03)) and not np.any(result.off("no penalty"))
    assert np.all(result.off("proximal L1", 0.1)[1] == 1)  # too strong: nothing is left
    assert "L1 tells useless inputs from informative ones." in result.conclusion()


def test_variants_differ_in_nothing_but_the_penalty():
    result = l1_vs_l2.run("wine", seeds=2, strengths=(1e-9, 1e-8), epochs=2)
    curves = [result.get("loss", penalty) for penalty in l1_vs_l2.PENALTIES]
    np.testing.assert_allclose(curves[1:], [curves[0]] * 3, rtol=1e-4)


def test_no_penalty_is_not_said_to_gain_on_itself():
    result = l1_vs_l2.run("wine", seeds=2, strengths=(0.3, 1.0), epochs=3)
    assert "Higher than with no penalty, the lowest mean: L2 by" in result.conclusion()


def test_selecting_and_predicting_are_two_aims_only_where_they_differ():
    same = l1_inputs.run("synthetic", seeds=2, strengths=(0.01, 0.3), epochs=30)
    assert same.keeping == same.synthetic.best["proximal L1"] == 0.01
    assert "also the best for the validation loss." in same.conclusion()
    assert "best λ for prediction" not in same.conclusion()


@pytest.mark.parametrize("module", [l1_vs_l2, l1_inputs])
def test_the_code_shown_includes_the_fit(module):
    result = module.run("synthetic", seeds=2, strengths=(0.01, 0.1), epochs=1)
    assert result.source.count("\ndef fit(") == 1
    assert f'__all__ = ["{type(result).__name__}", "run"]' in result.source
