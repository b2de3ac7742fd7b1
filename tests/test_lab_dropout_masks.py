"""The lab's pictures of dropout masks, against what the theory of inverted dropout says."""

import json
import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from fastreg.lab import dropout_masks


@pytest.fixture(scope="module", params=["digits", "wine"])
def result(request):
    return dropout_masks.run(request.param, seeds=2, draws=400, progress=False)


def test_table_findings_and_json(result):
    assert [row[0] for row in result.table().rows] == ["0.1", "0.3", "0.5", "0.7", "0.9"]
    assert "400 draws" in result.findings()[1].claim
    assert len(json.loads(result.to_json())["outcomes"]) == 10


def test_every_picture_is_drawn(result):
    for picture in result.pictures():
        figure = Figure(figsize=picture.size, layout="constrained")
        picture.draw(figure)
        assert all(ax.lines or ax.images for ax in figure.axes)


def test_the_share_kept_is_binomial(result):
    for one in result.outcomes:
        trials = 400 * np.size(one["mask"])
        error = math.sqrt(one["rate"] * (1 - one["rate"]) / trials)
        assert abs(one["kept"] - (1 - one["rate"])) < 4.5 * error


def test_kept_values_are_scaled_and_their_mean_returns(result):
    """Unscaled, the mean would stay p off; one mask for all draws would not come nearer."""
    for rate in result.rates:
        np.testing.assert_allclose(result.at("scale", rate), 1 / (1 - rate), rtol=1e-5)
        np.testing.assert_allclose(
            result.at("distance", rate)[-1], result.theory(rate)[-1], rtol=0.2
        )
