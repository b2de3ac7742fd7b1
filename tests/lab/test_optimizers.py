"""The lab's experiment on optimizers: shapes in a tiny setting, what it finds in the real one."""

import json

import numpy as np
import pytest

for package in ("jinja2", "joblib", "matplotlib", "sklearn", "tqdm"):
    pytest.importorskip(package, reason="needs the extra 'lab'")

from matplotlib.figure import Figure  # noqa: E402

from fastreg.lab import optimizers, step_sizes  # noqa: E402
from fastreg.lab.fits import Outcomes  # noqa: E402
from fastreg.lab.search import search  # noqa: E402


@pytest.fixture(scope="module", params=["wine", "diabetes"])
def tiny(request):
    return optimizers.run(request.param, seeds=2, epochs=2, method="grid", progress=False)


def test_table_and_findings(tiny):
    assert sorted(row[0] for row in tiny.table().rows) == sorted(optimizers.NAMES)
    best = tiny.tuned[0]
    assert tiny.findings()[0].claim.startswith("Tuned: ")
    assert f"{best[0]}'s mean is lowest" in tiny.conclusion()
    assert f"{tiny.at(best, 'val_loss')[-1].mean():.3f}" in tiny.conclusion()
    assert len(json.loads(tiny.to_json())["outcomes"]) == 7 * len(optimizers.RATES) * 2


def test_every_picture_is_drawn(tiny):
    for picture in tiny.pictures():
        figure = Figure(figsize=picture.size)
        picture.draw(figure)
        assert all(ax.lines for ax in figure.axes)


def test_rates_are_chosen_on_validation_loss_alone(tiny):
    for name, rate in tiny.tuned:
        losses = {r: tiny.at((name, r), "val_loss")[-1].mean() for r in optimizers.RATES}
        assert rate == min(losses, key=losses.get)


@pytest.fixture(scope="module")
def real():
    return optimizers.run("digits", seeds=2, epochs=20, method="grid", jobs=2, progress=False)


def test_tuning_brings_optimizers_together(real):
    """Adaptive steps need a smaller rate than a gradient's; a sign's an even smaller one."""
    rate = dict(real.tuned)
    assert rate["Lion"] < rate["Adam"] < rate["AdaGrad"] <= rate["SGD"]
    assert rate["Momentum"] <= 0.3 * rate["SGD"]  # its velocity adds up ten gradients
    common, tuned = (
        [real.loss[pair].mean() for pair in pairs] for pairs in (real.common, real.tuned)
    )
    assert max(common) > 10 * min(common)
    assert max(tuned) < 3 * min(tuned)


def test_momentum_at_a_tenth_of_the_rate_goes_where_sgd_goes(real):
    """The velocity of a steady gradient is 1 / (1 - 0.9) times it."""
    sgd, momentum = (real.at(pair, "loss")[-1] for pair in (("SGD", 0.1), ("Momentum", 0.01)))
    np.testing.assert_allclose(momentum, sgd, rtol=0.15)


def test_optuna_searches_between_the_ends_of_the_grid():
    pytest.importorskip("optuna")
    result = optimizers.run("wine", seeds=2, epochs=2, method="optuna", progress=False)
    assert "Optuna" in result.settings["search"]
    tried = {(o["name"], o["rate"]) for o in result.outcomes}
    assert len(tried) == 7 * len(optimizers.RATES)
    assert {(name, optimizers.COMMON) for name in optimizers.NAMES} <= tried


def test_a_search_by_optuna_closes_in():
    """Each candidate has its own best rate; half of the trials must come near it."""
    pytest.importorskip("optuna")
    best = {"low": 1e-3, "high": 0.3}

    def attempt(settings):
        return Outcomes(
            {**one, "val_loss": [9.0, abs(np.log10(one["rate"] / best[one["name"]]))]}
            for one in settings
        )

    grid = np.geomspace(1e-4, 1.0, 30)
    found, _ = search(attempt, list(best), grid.tolist(), common=1e-2, method="optuna")
    for name in best:
        assert found.where(name=name)[0]["rate"] == 1e-2
        late = [o["val_loss"][-1] for o in found.where(name=name)[15:]]
        assert np.median(late) < 0.6 < np.median(abs(np.log10(grid / best[name])))


def test_on_a_moving_target_two_are_compared_and_all_are_ranked():
    claim, evidence = step_sizes.run(seeds=5, steps=400, progress=False).findings()[3]
    assert claim == "Section 4.3, a target that moves: RMSprop follows it closer than AdaGrad."
    assert "SGD has the lowest error, surely below all others." in evidence
