"""Gradients of several batches in one step: the step of one batch so much larger."""

import tracemalloc
from functools import partial

import numpy as np
import pytest
from runs import everything, fit, network, stop, trainer

import fastreg
from fastreg import SGD, AdamW, ElasticNet, schedule
from fastreg._core import _kernels
from fastreg.callbacks import Callback
from fastreg.nn import mlp, mse, softmax_cross_entropy
from fastreg.train import Trainer

N, SIZE = 53, 4  # 14 batches of 4, the last of 1; 4 steps of 4 batches, the last of 2


def data(dtype=np.float64):
    rng = np.random.default_rng(3)
    return rng.normal(size=(N, 5)).astype(dtype), rng.integers(0, 3, N)


def run(loss=softmax_cross_entropy, optimizer=None, dtype=np.float64, **options):
    model = mlp([5, 7, 3], rng=1, dtype=dtype)
    return Trainer(model, loss, optimizer or AdamW(0.01), rng=2, progress=False, **options)


WEIGHTED = {"sample_weight": np.random.default_rng(4).exponential(size=N)}
BY_CLASS = partial(softmax_cross_entropy, class_weights=[0.2, 1.0, 3.0])
CASES = {
    "plain": ({}, {}),
    "weights": ({}, WEIGHTED),
    "classes": ({"loss": BY_CLASS}, {}),
    "both": ({"loss": BY_CLASS}, WEIGHTED),
    "some weigh nothing": (
        {"loss": partial(softmax_cross_entropy, class_weights=[0.0, 0.0, 1.0])}, WEIGHTED),
    "clipped": ({"optimizer": SGD(0.5, clip_norm=0.3)}, {}),
    "penalty": ({"penalties": [ElasticNet(0.05, 0.1)]}, {}),
    "schedule": ({"schedule": schedule.cosine(0.1, total="fit")}, {}),
    "float32": ({"dtype": np.float32}, {}),
}  # fmt: skip


def test_no_more_rows_are_seen_at_once_than_a_batch_has():
    seen = []

    def watched(outputs, targets, **options):
        seen.append(len(targets))
        return softmax_cross_entropy(outputs, targets, **options)

    run(loss=watched).fit(*data(), epochs=1, batch_size=SIZE, accumulate=4)
    steps = seen[: -(-N // SIZE)]  # evaluations may come after them
    assert steps == [SIZE] * (N // SIZE) + [N % SIZE]


@pytest.mark.parametrize("case", CASES)
def test_a_step_is_that_of_one_larger_batch(case):
    (made, given), rtol = CASES[case], 2e-4 if case == "float32" else 1e-11
    small, large = run(**made), run(**made)
    X, y = data(made.get("dtype", np.float64))
    one = small.fit(X, y, epochs=3, batch_size=SIZE, accumulate=4, **given)
    two = large.fit(X, y, epochs=3, batch_size=4 * SIZE, **given)
    assert small.step == large.step == 12
    assert small.optimizer.t == large.optimizer.t
    for key, array in large.model.params.items():
        np.testing.assert_allclose(small.model.params[key], array, rtol=rtol, atol=rtol / 10)
    skipped = {"loss", "accuracy"} if case == "some weigh nothing" else set()  # batches of them
    for key in set(two) - {"seconds", "ms_per_step"} - skipped:
        np.testing.assert_allclose(one[key], two[key], rtol=10 * rtol, err_msg=key)


def test_it_can_tell_a_mean_from_one_that_forgets_the_weights(monkeypatch):
    """The test above would see a last group whose batches count alike."""
    from fastreg._train import alone

    X, y = data()
    right, wrong = run(), run()
    right.fit(X, y, epochs=3, batch_size=SIZE, accumulate=4)
    monkeypatch.setattr(alone, "weight_of", lambda *arguments: 1.0)
    wrong.fit(X, y, epochs=3, batch_size=SIZE, accumulate=4)
    assert not np.allclose(right.model.params["0.W"], wrong.model.params["0.W"], rtol=1e-7)


def test_without_it_nothing_changes():
    one, two = trainer(), trainer()
    fit(one), fit(two, accumulate=1)
    assert everything(one) == everything(two)
    assert one._mean is two._mean is None


def test_a_group_of_one_batch_has_the_bits_of_the_batch():
    one, two = trainer(), trainer()
    fit(one, batch_size=75), fit(two, batch_size=75, accumulate=3)
    assert everything(one) == everything(two)


def test_callbacks_and_counts_are_of_steps():
    class Count(Callback):
        def __init__(self):
            self.begun, self.ended = [], []

        def on_train_batch_begin(self, batch, logs=None):
            self.begun.append(batch)

        def on_train_batch_end(self, batch, logs=None):
            self.ended.append((batch, self.trainer.step))
            assert np.isfinite(logs["loss"])

    count = Count()
    one = run(callbacks=[count])
    history = one.fit(*data(), epochs=2, batch_size=SIZE, accumulate=4)
    assert count.begun == [0, 1, 2, 3] * 2
    assert count.ended == [(k % 4, k + 1) for k in range(8)]
    assert one.optimizer.t == one.step == 8
    grads = one.model.grads.values()
    norm = np.sqrt(sum((g.astype(float) ** 2).sum() for g in grads))
    assert history["gradient_norm"][-1] == pytest.approx(norm, rel=1e-12)  # that of the mean


def test_batch_norm_sees_the_small_batches():
    one = trainer(model=network(dropout=0.0))
    fit(one, epochs=1, batch_size=8, accumulate=4)
    assert one.model.layers[1].batches == 10  # of 75 rows
    assert one.step == 3


@pytest.mark.parametrize("at", [1, 3, 7])
def test_a_run_goes_on_bit_for_bit(tmp_path, at):
    how = {"batch_size": 8, "accumulate": 3, "epochs": 4}

    class Stop(Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.trainer.step == at:
                stop(self.trainer)

    straight, first, second = trainer(), trainer(callbacks=[Stop()]), trainer()
    fit(straight, **how), fit(first, **how)
    first.save(tmp_path / "run")
    fit(second, **how, resume_from=tmp_path / "run")
    assert everything(second) == everything(straight)
    with pytest.raises(fastreg.checkpoint.CheckpointError, match="accumulate"):
        fit(trainer(), **how | {"accumulate": 2}, resume_from=tmp_path / "run")


def test_a_second_interrupt_takes_the_whole_step_back():
    """In the third batch of the second step: weights and noise are those after the first."""
    kept = []

    def loss(outputs, y):
        if one.model.training:
            loss.calls += 1
        if loss.calls == 7:
            raise KeyboardInterrupt
        return softmax_cross_entropy(outputs, y)

    loss.link, loss.calls = "softmax", 0

    class Keep(Callback):
        def on_train_batch_end(self, batch, logs=None):
            kept.append({k: np.copy(v) for k, v in self.trainer.model.state_dict().items()})

    one = trainer(loss=loss, callbacks=[Keep()])
    with pytest.raises(KeyboardInterrupt):
        fit(one, batch_size=8, accumulate=4)
    assert one.step == len(kept) == 1
    for key, value in one.model.state_dict().items():
        np.testing.assert_array_equal(value, kept[0][key])


def test_means_are_kept_in_the_same_arrays():
    fastreg.matmul(np.ones((300, 1)), np.ones((1, 300)))
    if not _kernels.pool_info()["idle_bytes"]:
        pytest.skip("this build makes every array anew")
    model = mlp([300, 200, 1], rng=0)
    one = Trainer(model, mse, SGD(1e-3), rng=0, progress=False)
    X, y = np.ones((64, 300), np.float32), np.ones(64, np.float32)

    class Measure(Callback):
        def __init__(self):
            self.peaks = []

        def on_train_batch_begin(self, batch, logs=None):
            tracemalloc.reset_peak()
            self.held = tracemalloc.get_traced_memory()[0]

        def on_train_batch_end(self, batch, logs=None):
            self.peaks.append(tracemalloc.get_traced_memory()[1] - self.held)

    measure = Measure()
    one.callbacks = (measure,)
    tracemalloc.start()
    try:
        one.fit(X, y, epochs=3, batch_size=4, accumulate=4)
    finally:
        tracemalloc.stop()
    assert max(measure.peaks[4:]) < 50_000  # W alone has 240 kB; the first steps make what is kept


@pytest.mark.parametrize("bad", [0, -1, 1.5, "2", None, True])
def test_bad_counts_are_refused(bad):
    with pytest.raises((TypeError, ValueError), match=r"^Trainer\.fit: accumulate must"):
        run().fit(*data(), epochs=1, accumulate=bad)
