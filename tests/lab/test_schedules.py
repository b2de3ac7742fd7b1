"""The lab's experiment on schedules: shapes in a tiny setting, what it finds in the real one."""

import json

import numpy as np
import pytest

for package in ("jinja2", "joblib", "matplotlib", "sklearn", "tqdm"):
    pytest.importorskip(package, reason="needs the extra 'lab'")

from matplotlib.figure import Figure  # noqa: E402

from fastreg.lab import schedules  # noqa: E402


@pytest.fixture(scope="module", params=["wine", "diabetes"])
def tiny(request):
    return schedules.run(request.param, seeds=2, epochs=2, progress=False)


def test_table_and_findings(tiny):
    assert [row[0] for row in tiny.table().rows] == tiny.ranked
    assert f"The lowest mean is that of {tiny.ranked[0]}" in tiny.conclusion()
    assert f"{tiny.final(tiny.ranked[0]).mean():.3f}" in tiny.conclusion()
    assert len(json.loads(tiny.to_json())["outcomes"]) == 4 * 3 * 2


def test_every_picture_is_drawn(tiny):
    for picture in tiny.pictures():
        figure = Figure(figsize=picture.size, layout="constrained")
        picture.draw(figure)
        assert all(len(ax.lines) >= 4 for ax in figure.axes)


@pytest.fixture(scope="module")
def real():
    return schedules.run("digits", seeds=2, epochs=45, jobs=2, progress=False)


def test_the_rates_are_those_of_the_formulas(real):
    """The trainer's record, at the last step of each epoch."""
    peak, epoch = 0.01, np.arange(45)
    rate = {name: real.at("rate", name, peak)[:, 0] for name in schedules.NAMES}
    assert (rate["constant"] == peak).all()
    np.testing.assert_allclose(rate["step decay"], peak * 0.5 ** (epoch // 20))
    steps, last = 17, 17 * epoch + 16
    total = 45 * steps
    np.testing.assert_allclose(rate["cosine"], peak * (1 + np.cos(np.pi * last / total)) / 2)
    np.testing.assert_allclose(rate["warmup + cosine"][:5], peak * (epoch[:5] + 1) / 5)
    late = (last[5:] - 5 * steps) / (total - 5 * steps)
    np.testing.assert_allclose(rate["warmup + cosine"][5:], peak * (1 + np.cos(np.pi * late)) / 2)


def test_a_rate_that_falls_to_zero_ends_calm(real):
    unrest = {name: real.unrest(name).max() for name in schedules.NAMES}
    assert 5 * unrest["cosine"] < unrest["constant"]


def test_warmup_survives_a_high_rate_best(real):
    final = {name: real.final(name, 0.01).mean() for name in schedules.NAMES}
    assert final["warmup + cosine"] < final["cosine"] < final["constant"]
