"""scikit-learn's checks of any estimator: none is expected to fail."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastreg.sklearn import MLPClassifier, MLPRegressor

ESTIMATORS = [
    MLPClassifier(),
    MLPRegressor(),
    MLPClassifier(label_smoothing=0.1, class_weight="balanced", max_norm=3.0, max_iter=30),
    MLPClassifier(optimizer="adamw", schedule="cosine", norm="layer", ema_decay=0.9, max_iter=30),
    MLPRegressor(solver="lbfgs"),
]

CHECKS = parametrize_with_checks(ESTIMATORS).mark  # in 1.4 a generator, which pytest refuses


@pytest.mark.filterwarnings("default", "ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
def test_estimators_pass_every_check(estimator, check):
    check(estimator)
