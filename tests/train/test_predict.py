"""Predictions: classes, probabilities and outputs, by the link of the loss."""

import functools

import numpy as np
import pytest
from runs import blobs, fit, trainer

from fastreg.nn import (
    binary_cross_entropy,
    mlp,
    mse,
    softmax_cross_entropy,
)


def test_a_loss_of_ones_own_is_known_by_its_link_not_by_its_name():
    def mse(outputs, labels):
        return softmax_cross_entropy(outputs, labels)

    def focal(outputs, labels):
        return softmax_cross_entropy(outputs, labels)

    X, y = blobs(90)
    for loss in (mse, focal):
        run = trainer(loss=loss)
        history = run.fit(X, y, epochs=2)
        assert "accuracy" not in history
        assert run.predict(X).shape == (90, 3)
    focal.link = "softmax"
    for loss in (focal, functools.partial(focal)):
        run = trainer(loss=loss)
        history = run.fit(X, y, epochs=2, evaluate_training=True)
        assert history["accuracy"][-1] == np.mean(run.predict(X) == y)
    focal.link = "logit"
    with pytest.raises(ValueError, match=r"loss\.link must be one of .*got 'logit'"):
        trainer(loss=focal)


def test_classes_and_their_probabilities():
    run = trainer()
    fit(run, epochs=20)
    X, y = blobs(5000, seed=8)
    p = run.predict_proba(X)
    assert p.shape == (5000, 3)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(run.predict(X), p.argmax(axis=1))
    value, accuracy = run.evaluate(X, y)
    assert accuracy == np.mean(run.predict(X) == y) > 0.95
    assert value == pytest.approx(-np.log(p[np.arange(5000), y]).mean(), rel=1e-4)


def test_two_classes_from_one_logit():
    X, y = blobs(90)
    run = trainer(model=mlp([2, 8, 1], rng=0), loss=binary_cross_entropy)
    run.fit(X, y == 1, epochs=20)
    assert run.history["accuracy"][-1] > 0.95
    p = run.predict_proba(X)
    assert p.shape == (90, 2)
    np.testing.assert_array_equal(run.predict(X), p[:, 1] > 0.5)
    assert np.mean(run.predict(X) == (y == 1)) == run.evaluate(X, y == 1)[1]


def test_regression_has_outputs_and_no_accuracy():
    X, _ = blobs(90)
    y = X @ np.array([1.0, -2.0], np.float32)
    run = trainer(model=mlp([2, 16, 1], rng=0), loss=mse)
    history = run.fit(X, y, epochs=60)
    assert "accuracy" not in history
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    assert run.predict(X).shape == y.shape
    np.testing.assert_allclose(run.predict(X), y, atol=3)
    with pytest.raises(TypeError, match="loss must be a cross-entropy"):
        run.predict_proba(X)


def test_a_partial_of_a_loss_is_known_for_what_it_is():
    run = trainer(loss=functools.partial(softmax_cross_entropy, label_smoothing=0.1))
    fit(run, epochs=2)
    assert run.predict_proba(blobs()[0]).shape == (90, 3)


def test_one_logit_gives_the_logistic_function():
    run = trainer(model=mlp([2, 1], rng=0), loss=binary_cross_entropy)
    points = blobs(20)[0]
    z = run.model.forward(points).astype(float)[:, 0]
    np.testing.assert_allclose(run.predict_proba(points)[:, 1], 1 / (1 + np.exp(-z)), rtol=1e-5)


def test_a_row_beyond_those_evaluated_together_counts():
    run = trainer()
    points = blobs(4097)[0]
    last = run.predict_proba(points)[-1]
    np.testing.assert_allclose(last, run.predict_proba(points[-1:])[0], rtol=1e-5)
