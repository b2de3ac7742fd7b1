"""What the lab's experiments find, on fixed seeds in the real setting."""

import numpy as np
import pytest

for package in ("jinja2", "joblib", "matplotlib", "sklearn", "tqdm"):
    pytest.importorskip(package, reason="needs the extra 'lab'")

from matplotlib.figure import Figure  # noqa: E402

import fastreg  # noqa: E402
from fastreg.lab import (  # noqa: E402
    bias_variance,
    dropout_masks,
    dropout_rate,
    early_stopping,
    fit_status,
    fits,
    speed,
)


@pytest.fixture(scope="module")
def dropout():
    """The real setting, for the rates that matter."""
    return dropout_rate.run(seeds=3, rates=(0.0, 0.3, 0.5, 0.9), epochs=40, jobs=2)


def test_dropout_helps_against_noise_and_too_much_of_it_does_not(dropout):
    assert dropout.best[dropout_rate.NOISE] in (0.3, 0.5)
    none, best, high = (dropout.score(dropout_rate.NOISE, r).mean() for r in (0.0, 0.5, 0.9))
    assert best > none + 0.02 > high + 0.5
    assert dropout.last("loss", 0.0, 0.9).mean() > 1.5  # it cannot even learn the training rows
    assert "Dropout 0.9 underfits" in dropout.conclusion()


def test_the_rate_is_chosen_on_validation_data(dropout):
    for noise, best in dropout.best.items():
        losses = {rate: dropout.last("val_loss", noise, rate).mean() for rate in dropout.rates}
        assert losses[best] == min(losses.values())


def test_variants_differ_in_nothing_but_the_rate(dropout):
    first = dropout_rate.run(seeds=2, rates=(0.0, 1e-6), epochs=1)
    curves = [first.outcomes.values("loss", rate=rate) for rate in first.rates]
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-3)


def test_early_stopping_saves_epochs_and_the_replay_agrees_with_live_runs():
    result = early_stopping.run(seeds=5, epochs=60, jobs=2)
    assert result.agreement() == (15, 15)
    runs = [result.outcomes.values("epochs_run", patience=p) for p in (5, 10, 20)]
    assert (runs[0] <= runs[1]).all() and (runs[1] <= runs[2]).all()
    assert (runs[0] < 60).all()
    assert result.gain(5).low > 0.02  # points of accuracy that memorising noise had cost
    # A live run is the first part of the run without stopping, and keeps its best weights.
    for seed in range(5):
        whole, live = (result.outcomes.where(patience=p, seed=seed)[0] for p in (None, 5))
        n = live["epochs_run"]
        assert live["val_loss"] == whole["val_loss"][:n]
        (replay,) = fastreg.EarlyStopping.replay(live["val_loss"], 5)
        assert live["stopped"] and replay.best_epoch == n - 1 - 5


def test_the_decomposition_adds_up_and_makes_a_u():
    result = bias_variance.run(seeds=3, rounds=100, jobs=2)
    for degree in result.degrees:
        parts = sum(result.part(name, degree).mean() for name in ("bias2", "variance", "noise"))
        assert parts == pytest.approx(result.total[degree], rel=0.02)
    assert result.best in (3, 4, 5)
    totals = list(result.total.values())
    assert min(totals[0], totals[-1]) > 1.2 * min(totals)
    bias2 = [result.part("bias2", degree).mean() for degree in (0, 1, 3)]
    assert bias2[0] > 2 * bias2[1] > 20 * bias2[2]
    assert result.part("variance", 9).mean() > 5 * result.part("variance", 3).mean()


def test_the_four_kinds_of_fit_are_told_apart():
    result = fit_status.run(seeds=3, jobs=2)
    expected = ["underfitting", "good fit", "overfitting", "diverging"]
    assert [result.verdict[case] for case in result.cases] == expected


def test_a_network_lost_in_its_first_epoch_is_said_to_be():
    result = fit_status.run("diabetes", seeds=2, epochs=2, progress=False)
    figure = Figure()
    result.plot(figure.subplots(), "32 units, rate 4")
    assert [text.get_text() for text in figure.axes[0].texts] == ["infinite from\nthe first epoch"]


def test_masks_keep_their_share_and_average_to_the_image():
    result = dropout_masks.run()
    assert max(map(abs, result.z.values())) < 4
    for rate in result.rates:
        ratio = result.error[rate].mean(axis=1) / result.expected(rate)
        assert ratio.min() > 0.7 and ratio.max() < 1.4
    assert all(outcome["unchanged"] for outcome in result.outcomes)


def test_both_backends_train_the_same_network():
    result = speed.run(epochs=4)
    assert result.apart < 0.01
    for outcome in result.outcomes:  # how large it is depends on the build and on the machine
        ms = outcome["ms"]
        assert result.ratio[outcome["variant"]] == ms["reference"] / ms["fast"] > 0


def scores(best, high, *, chosen=0.0):
    """Made-up outcomes of three seeds, scores for the choice and for 0.9."""
    outcomes = fits.Outcomes(
        {"data": "wine", "label_noise": noise, "rate": rate, "seed": seed, "loss": [0.1],
         "val_loss": [0.1 if rate == chosen else 0.2], "val_score": [0.9],
         "test_score": (best if rate == 0.0 else high) + 0.001 * seed * (rate == 0.0)}
        for noise in (0.0, dropout_rate.NOISE) for rate in (0.0, 0.9) for seed in range(3)
    )  # fmt: skip
    return dropout_rate.DropoutRate(outcomes, {})


def test_claims_about_dropout_hold_when_it_does_not_help():
    assert (
        "Dropout 0.9 scores more than 0 does: it gains 9.9 ± 2.9" in scores(0.85, 0.95).conclusion()
    )
    assert "Dropout 0.9 costs 10.1 ± 2.9 points" in scores(0.95, 0.85).conclusion()
    noisy = scores(0.95, 0.951).conclusion()
    assert "Within the noise dropout 0.9 cannot be told from 0 on clean labels" in noisy
    chosen = scores(0.9, 0.9, chosen=0.9).conclusion()
    assert "On clean labels the validation loss chooses 0.9, the highest rate tried." in chosen
    assert "Within the noise dropout 0.9 cannot be told from none on noisy labels" in chosen
    scores(0.9, 0.8).plot(ax := Figure().subplots())
    assert ax.get_title() == "On noisy labels the validation loss chooses no dropout"


def test_a_rate_without_errors_is_on_the_figure():
    scores(1.0, 0.9).plot(ax := Figure().subplots())
    low, high = ax.transLimits.transform(ax.transScale.transform([(0, 0.0), (0.9, 10.0)]))[:, 1]
    assert 0 < low < high < 1
