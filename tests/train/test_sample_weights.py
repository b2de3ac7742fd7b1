"""Weights of samples and classes: repeated samples, samples left out, what is refused."""

import functools

import numpy as np
import pytest
from runs import Adam, blobs, cumulative, everything, network, trainer, weights

from fastreg.nn import mlp, mse, softmax_cross_entropy
from fastreg.train import Trainer


@pytest.mark.parametrize("wrap", [
    lambda loss: loss, lambda loss: lambda *a, **k: loss(*a, **k)
], ids=["partial", "function"])  # fmt: skip
def test_a_batch_of_a_class_of_weight_zero_is_skipped(wrap):
    X, y = blobs(100)
    y = np.zeros(100, int)
    y[:5] = 1
    loss = wrap(functools.partial(softmax_cross_entropy, class_weights=[0.0, 1.0]))
    run = Trainer(mlp([2, 2], rng=0), loss, Adam(), rng=0, progress=False)
    history = run.fit(X, y, X_val=X[:9], y_val=y[:9], epochs=3, batch_size=4)
    made = run.optimizer.t
    assert 3 <= made <= 15 < run.step == 75
    assert all(len(column) == 3 for column in history.values())
    assert np.isfinite(history["loss"]).all() and np.isfinite(history["val_loss"]).all()


@pytest.mark.parametrize("name", ["y", "y_val"])
@pytest.mark.parametrize("direct", [True, False], ids=["partial", "function"])
def test_data_that_weigh_nothing_are_refused(name, direct):
    """Before training where the class weights can be seen, at the first evaluation elsewhere."""
    X, y = blobs(12)
    weighed = functools.partial(softmax_cross_entropy, class_weights=[1.0, 1.0, 0.0])
    loss = weighed if direct else lambda outputs, labels: weighed(outputs, labels)
    run = Trainer(cumulative(), loss, Adam(), rng=0, progress=False)
    before = run.model.state_dict()
    targets = {"y": y, "y_val": y} | {name: np.full(12, 2)}
    message = f"Trainer.fit: {name} must have a sample whose weight is above 0"
    with pytest.raises(ValueError, match=message):
        run.fit(X, X_val=X, **targets, epochs=2, batch_size=4)
    if direct or name == "y":  # whose batches are all skipped
        np.testing.assert_equal(run.model.state_dict(), before)
        assert run.optimizer.t == 0
    with pytest.raises(ValueError, match="evaluate: y must have a sample whose weight is above 0"):
        run.evaluate(X, np.full(12, 2))


def test_sample_and_class_weights_that_leave_nothing_are_refused():
    X, y = blobs(12)
    loss = functools.partial(softmax_cross_entropy, class_weights=[1.0, 1.0, 0.0])
    run = Trainer(network(), loss, Adam(), rng=0, progress=False)
    with pytest.raises(ValueError, match=r"Trainer\.fit: y must have a sample whose weight"):
        run.fit(X, y, epochs=1, sample_weight=(y == 2) * 1.0)
    run.loss = functools.partial(softmax_cross_entropy, class_weights=[1.0, 1.0])
    with pytest.raises(ValueError, match=r"Trainer\.fit: class_weights must have shape \(3,\)"):
        run.fit(X, y, epochs=1)


BAD_WEIGHTS = {
    "shape": ([1, 1, 1], r"must have shape \(4,\), got \(3,\)"),
    "negative": ([-1, 1, 1, 1], "must be finite and at least 0, got -1.0 at 0"),
    "infinite": ([1, 1, np.inf, 1], "must be finite and at least 0, got inf at 2"),
    "nothing": ([0, 0, 0, 0], "must have a positive finite sum, got 0.0"),
}


@pytest.mark.parametrize(("found", "message"), BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_losses_and_trainer_say_the_same_of_weights(found, message):
    X, y = blobs(4)
    with pytest.raises(ValueError, match=f"Trainer.fit: sample_weight {message}"):
        trainer().fit(X, y, epochs=1, sample_weight=found)
    for loss, targets in ((softmax_cross_entropy, y), (mse, np.zeros((4, 3)))):
        with pytest.raises(ValueError, match=message):
            loss(np.zeros((4, 3)), targets, sample_weight=found)


def test_sample_weights_are_those_of_repeated_samples():
    X, y = blobs(30)
    counts = np.arange(30) % 3 + 1
    one, two = (trainer(model=network(batch_norm=False, dropout=0.0)) for _ in "ab")
    one.fit(X, y, epochs=3, batch_size=30, sample_weight=counts)
    two.fit(np.repeat(X, counts, axis=0), np.repeat(y, counts), epochs=3, batch_size=60)
    for key, array in one.model.params.items():
        np.testing.assert_allclose(array, two.model.params[key], atol=1e-4)
    assert one.history["loss"][-1] == pytest.approx(two.history["loss"][-1], abs=1e-4)


@pytest.mark.filterwarnings("ignore:BatchNorm.forward. a training batch with one value")
def test_samples_of_weight_zero_take_no_part():
    X, y = blobs(30)
    counts = np.arange(30) % 2
    one, two = trainer(), trainer()
    one.fit(X, y, epochs=2, batch_size=1 + 1, sample_weight=counts)
    two.fit(X[1::2], y[1::2], epochs=2, batch_size=2, sample_weight=counts[1::2])
    assert everything(one) == everything(two)


@pytest.mark.parametrize("value", [0.0, 1e308])
def test_weights_without_a_positive_finite_sum_are_refused(value):
    run = trainer()
    before = weights(run.model)
    with pytest.raises(ValueError, match="Trainer.fit: sample_weight must have a positive finite"):
        run.fit(*blobs(30), epochs=1, sample_weight=np.full(30, value))
    assert weights(run.model) == before
