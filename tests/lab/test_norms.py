"""Exercise 3 of the lab: what batch norm and layer norm make possible, in the real setting."""

import numpy as np
import pytest

for package in ("jinja2", "joblib", "matplotlib", "sklearn", "tqdm"):
    pytest.importorskip(package, reason="needs the extra 'lab'")

from fastreg.lab import batch_norm, batch_vs_layer_norm  # noqa: E402
from fastreg.lab.normed import NAMES, network  # noqa: E402


def test_grids_span_the_decades_the_exercise_asks_for():
    assert batch_norm.RATES[-1] / batch_norm.RATES[0] >= 1000 * (1 - 1e-9)
    assert batch_norm.SCALES[-1] / batch_norm.SCALES[0] >= 100 * (1 - 1e-9)
    assert batch_vs_layer_norm.SIZES == (2, 8, 64)


def test_initial_weights_do_not_depend_on_the_norm_and_follow_the_scale():
    plain, batch, layer = (network([8, 6, 5, 3], norm, 1.0, 4).params for norm in NAMES)
    large = network([8, 6, 5, 3], "none", 10.0, 4).params
    weights = [
        [w for key, w in p.items() if key.endswith("W")] for p in (plain, batch, layer, large)
    ]
    for one, two, three, ten in zip(*weights, strict=True):
        assert (one == two).all() and (one == three).all()
        np.testing.assert_allclose(ten, 10 * one, rtol=1e-5)


def test_batch_norm_trains_where_the_largest_rate_or_scale_fails_without():
    result = batch_norm.run(seeds=3, rates=(0.1, 1.0, 3.0), scales=(0.1, 1.0, 10.0), jobs=2)
    for rate, scale in ((3.0, 1.0), (1.0, 10.0), (0.1, 0.1)):
        assert (result.get("last", "none", rate, scale) > 2.2).all()  # no better than ignorance
        assert (result.get("last", "batch", rate, scale) < 0.6).all()
    assert (result.get("last", "none", 0.1, 1.0) < 0.4).all()  # without is no straw man
    assert (result.reached["batch"] > result.reached["layer"]).all()
    assert (result.reached["layer"] > result.reached["none"]).all()
    claims = [finding.claim for finding in result.findings()]
    assert claims[0] == "Batch norm makes more settings train."
    assert claims[1] == "Batch norm makes training less sensitive to the initial weights."
    assert all("trains with batch norm and fails without" in claim for claim in claims[2:])


def test_small_batches_cost_batch_norm_more_than_layer_norm():
    result = batch_vs_layer_norm.run(seeds=5, sizes=(2, 64), rates=(0.01, 0.1, 0.3), jobs=2)
    at = result.at
    cost = {norm: (at(norm, 2) - at(norm, 64)).mean() for norm in ("batch", "layer")}
    assert cost["batch"] > cost["layer"] + 0.1
    assert (at("batch", 2) > at("layer", 2)).all()
    assert at("batch", 64).mean() < at("layer", 64).mean()
    for (norm, size), rate in result.best.items():
        assert at(norm, size).mean() == min(at(norm, size, r).mean() for r in result.rates)
        assert rate in result.rates
