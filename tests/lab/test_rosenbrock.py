"""The lab's descents of Rosenbrock's valley, against recurrences written out and against theory."""

import json

import numpy as np
import pytest

for package in ("jinja2", "joblib", "matplotlib", "sklearn", "tqdm"):
    pytest.importorskip(package, reason="needs the extra 'lab'")

from matplotlib.figure import Figure  # noqa: E402

from fastreg.lab import rosenbrock  # noqa: E402


@pytest.fixture(scope="module")
def result():
    return rosenbrock.run(seeds=3, steps=600, jobs=2, progress=False)


def test_gradient_is_the_values_slope():
    for x, y in ((-1.2, 1.0), (0.3, -0.5), (1.0, 1.0)):
        h = 1e-6
        slopes = [
            (rosenbrock.value(x + h, y) - rosenbrock.value(x - h, y)) / (2 * h),
            (rosenbrock.value(x, y + h) - rosenbrock.value(x, y - h)) / (2 * h),
        ]
        np.testing.assert_allclose(rosenbrock.gradient(x, y), slopes, rtol=1e-6, atol=1e-6)


def test_paths_are_those_of_the_recurrences():
    outcome = rosenbrock.fit("Momentum", 0.001, 200, 0)
    point, velocity = np.array([-1.2, 1.0]) + 0.1 * np.random.default_rng(0).normal(size=2), 0.0
    for step in range(201):
        np.testing.assert_allclose(outcome["path"][step], point, atol=1e-4)
        velocity = 0.9 * velocity + rosenbrock.gradient(*point)
        point = point - 0.001 * velocity


def test_table_findings_and_json(result):
    assert [row[0] for row in result.table().rows] == result.ranked
    assert f"{result.at('arrived', 'Momentum').mean():.0f} ±" in result.findings()[0].claim
    assert len(json.loads(result.to_json())["outcomes"]) == 4 * len(rosenbrock.RATES) * 3


def test_every_picture_is_drawn(result):
    for picture in result.pictures():
        figure = Figure(figsize=picture.size, layout="constrained")
        picture.draw(figure)
        assert len(figure.axes[0].lines) >= 4


def test_momentum_and_adam_arrive_where_sgd_does_not(result):
    for name in ("Momentum", "Adam"):
        assert (result.at("arrived", name) < 600).all()
        assert (100 * result.at("end", name) < result.at("end", "SGD")).all()


def test_sgd_is_lost_beyond_the_bound_of_its_curvature(result):
    """Adaptive steps are bounded by their rate instead: no start is lost."""
    assert result.held("SGD") <= 2.0 / 1002.0 + 1e-5
    assert result.held("RMSprop") == result.held("Adam") == max(rosenbrock.RATES)
