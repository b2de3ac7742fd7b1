"""scikit-learn's multi-layer perceptrons at fastreg's speed: change the import, keep the code.

``from fastreg.sklearn import MLPClassifier, MLPRegressor`` in place of
``from sklearn.neural_network import MLPClassifier, MLPRegressor``. Arguments, defaults, attributes
and errors are scikit-learn's; dropout, normalisation, other optimizers, schedules and more are
added as keywords. Needs the extra ``sklearn``.
"""

from fastreg.sklearn.classifier import MLPClassifier
from fastreg.sklearn.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
