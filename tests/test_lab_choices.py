"""No experiment looks at its test data to choose: other test results, the same choices."""

import numpy as np
import pytest

for package in ("jinja2", "joblib", "matplotlib", "sklearn", "tqdm"):
    pytest.importorskip(package, reason="needs the extra 'lab'")

from fastreg import data as files  # noqa: E402
from fastreg.lab import (  # noqa: E402
    batch_norm,
    batch_vs_layer_norm,
    data,
    dropout_rate,
    early_stopping,
    l1_inputs,
    l1_vs_l2,
    optimizers,
    schedules,
)
from fastreg.lab.fits import Outcomes  # noqa: E402

CHOICES = {  # a short run, and what it chooses
    l1_vs_l2: ({"strengths": (0.001, 0.01, 0.1)}, lambda result: result.best),
    l1_inputs: ({"strengths": (0.01, 0.1)}, lambda r: (r.synthetic.best, r.keeping, r.asked.best)),
    dropout_rate: ({"rates": (0.0, 0.3, 0.6)}, lambda result: result.best),
    batch_norm: ({"rates": (0.1, 0.3), "scales": (0.3, 1.0)}, lambda r: (r.best, r.target)),
    batch_vs_layer_norm: ({"rates": (0.03, 0.1, 0.3), "sizes": (8,)}, lambda r: r.best),
    optimizers: ({"method": "grid"}, lambda result: (result.tuned, result.contrast)),
    schedules: ({}, lambda result: (result.peak, result.ranked)),
    early_stopping: ({"patiences": (1,)}, lambda r: (r.replays, r.saved(1).tolist())),
}


@pytest.mark.parametrize("module", CHOICES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_other_test_results_change_no_choice(module):
    short, choice = CHOICES[module]
    result = module.run("wine", seeds=2, epochs=2, **short)
    rng = np.random.default_rng(0)
    for _ in range(20):
        made_up = Outcomes(
            {**one, "test_score": rng.uniform(), "test_loss": rng.uniform()}
            for one in result.outcomes
        )
        assert choice(type(result)(made_up, result.settings)) == choice(result)


def test_validation_and_test_rows_leave_no_trace_in_the_training_data(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "t.npz"
    X, y = rng.normal(size=(100, 3)), np.arange(100) % 2 + 0.5 * rng.uniform(size=100)
    np.savez(path, X=X, y=y)
    clean = data.load(path, 7)
    rows = files.split("rows", np.arange(100.0)[:, None], y, standardize=False, rng=7)
    others = np.concatenate([rows.X_val, rows.X_test]).ravel().astype(int)
    X[others] = 1000 + 50 * rng.normal(size=(len(others), 3))
    np.savez(path, X=X, y=y)
    other = data.load(path, 7)
    np.testing.assert_array_equal(clean.X_train, other.X_train)
    np.testing.assert_array_equal(clean.y_train, other.y_train)
    assert (other.X_val == data.WIDEST).all() and (other.X_test == data.WIDEST).all()
