"""Cross-entropy against rows of probabilities, and without the rows that are to be ignored."""

import functools

import harness
import numpy as np
import pytest
from harness import finite_difference, same_bits

import fastreg
from fastreg import nn, reference, train
from fastreg.nn import softmax_cross_entropy


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.2}, {"class_weights": [1, 2, 0.5]}])
@pytest.mark.parametrize("weighted", [False, True])
def test_soft_targets_are_the_references_and_torchs(options, weighted, fixed_rng):
    z, q = 3 * fixed_rng.normal(size=(20, 3)), fixed_rng.dirichlet([1, 1, 1], 20)
    w = fixed_rng.uniform(0, 2, 20) if weighted else None
    value, gradient = softmax_cross_entropy(z, q, sample_weight=w, **options)
    expected, slopes = reference.softmax_cross_entropy(z, q, sample_weight=w, **options)
    assert value == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-11, atol=1e-16)
    numeric = finite_difference(
        lambda: softmax_cross_entropy(z, q, sample_weight=w, **options)[0], z
    )
    np.testing.assert_allclose(gradient, numeric, atol=1e-8)

    torch = pytest.importorskip("torch")
    by_class = torch.tensor(options["class_weights"]) if "class_weights" in options else None
    x = torch.tensor(z, requires_grad=True)
    rows = torch.nn.functional.cross_entropy(
        x, torch.tensor(q), weight=None if by_class is None else by_class.double(),
        label_smoothing=options.get("label_smoothing", 0.0), reduction="none",
    )  # fmt: skip
    weights = np.ones(20) if w is None else w
    total = weights @ (q @ options["class_weights"]) if by_class is not None else weights.sum()
    wanted = (rows * torch.tensor(weights)).sum() / total
    wanted.backward()
    assert value == pytest.approx(wanted.item(), rel=1e-13)
    np.testing.assert_allclose(gradient, x.grad.numpy(), rtol=1e-11, atol=1e-16)


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.2}, {"class_weights": [1, 2, 0.5]}])
def test_rows_of_one_class_are_labels(options, dtype, rng):
    z, y = (3 * rng.normal(size=(40, 3))).astype(dtype), rng.integers(0, 3, 40)
    value, gradient = softmax_cross_entropy(z, np.eye(3)[y], **options)
    wanted, slopes = softmax_cross_entropy(z, y, **options)
    assert value == pytest.approx(wanted, rel=1e-6 if dtype == np.float32 else 1e-13)
    np.testing.assert_allclose(gradient, slopes, rtol=0, atol=np.finfo(dtype).eps / 10)


@pytest.mark.parametrize("shape", [(1, 1), (63, 10), (3, 3000), (2100, 17)], ids=str)
def test_soft_targets_have_the_same_bits_everywhere(shape, dtype, level, threads, guarded, rng):
    z = guarded((5 * rng.normal(size=shape)).astype(dtype), offset=1)
    q = guarded(rng.dirichlet(np.ones(shape[1]), shape[0]).astype(dtype))
    value, gradient = softmax_cross_entropy(z, q, label_smoothing=0.1)
    with harness.serial_base():
        wanted, slopes = softmax_cross_entropy(z, q, label_smoothing=0.1)
    assert value == wanted
    same_bits(gradient, slopes)


def test_a_sure_row_keeps_the_digits_of_its_loss():
    z = np.array([[0.0, -50.0, -np.inf]])
    value, gradient = softmax_cross_entropy(z, np.array([[1.0, 0.0, 0.0]]))
    assert value == pytest.approx(np.exp(-50.0), rel=1e-14)
    np.testing.assert_allclose(gradient, [[-np.exp(-50.0), np.exp(-50.0), 0]], rtol=1e-14)


def test_logits_of_any_size_give_finite_losses(dtype):
    z = np.array([[np.finfo(dtype).max, -np.finfo(dtype).max]])
    value, gradient = softmax_cross_entropy(z, np.array([[0.75, 0.25]]))
    largest = float(np.finfo(dtype).max)
    assert value == pytest.approx(largest / 2, rel=1e-6)
    np.testing.assert_allclose(gradient, [[0.25, -0.25]])


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.2}, {"class_weights": [1, 2, 0.5]}])
@pytest.mark.parametrize("ignored", [-100, -1, 1, 255])
def test_ignored_rows_take_no_part(options, ignored, dtype, level, rng):
    z, y = (3 * rng.normal(size=(30, 3))).astype(dtype), rng.integers(0, 3, 30)
    out = rng.permutation(30) < 10
    y[out] = ignored
    kept = y != ignored
    z[out & ~kept] = np.nan  # whatever they hold
    options = {**options, "sample_weight": rng.uniform(0.5, 2, 30)}
    value, gradient = softmax_cross_entropy(z, y, ignore_index=ignored, **options)
    options["sample_weight"] = options["sample_weight"][kept]
    wanted, slopes = softmax_cross_entropy(z[kept], y[kept], **options)
    assert value == pytest.approx(wanted, rel=1e-13)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(gradient[kept], slopes, rtol=2 * eps, atol=eps / 100)
    assert (gradient[~kept] == 0).all()


def test_ignored_rows_are_torchs(fixed_rng):
    torch = pytest.importorskip("torch")
    z, y = fixed_rng.normal(size=(9, 3)), np.array([0, 1, -100, 2, 0, -100, 1, 2, 2])
    weights = np.array([0.5, 1.0, 2.0])
    x = torch.tensor(z, requires_grad=True)
    wanted = torch.nn.functional.cross_entropy(x, torch.tensor(y), weight=torch.tensor(weights))
    wanted.backward()
    value, gradient = softmax_cross_entropy(z, y, class_weights=weights, ignore_index=-100)
    assert value == pytest.approx(wanted.item(), rel=1e-14)
    np.testing.assert_allclose(gradient, x.grad.numpy(), rtol=1e-13, atol=1e-18)
    expected, slopes = reference.softmax_cross_entropy(
        z, y, class_weights=weights, ignore_index=-100
    )
    assert value == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-13, atol=1e-18)


BAD = [
    ([[0.5, 0.4]], {}, "row 0 has the least 0.4.* and the sum 0.9"),
    ([[1.5, -0.5]], {}, "at least 0"),
    ([[np.nan, 1.0]], {}, "rows of probabilities"),
    ([[0.5, 0.25, 0.25]], {}, r"labels must have shape \(1, 2\), got \(1, 3\)"),
    ([[0.5, 0.5]], {"ignore_index": -1}, "ignore_index must be None where labels are rows"),
    ([-1], {"ignore_index": -1}, "weights must have a positive finite sum, got 0"),
    ([-2], {"ignore_index": -1}, "labels must be from 0 to 1, got -2"),
    ([0], {"ignore_index": 0.5}, "ignore_index must be an integer"),
]


@pytest.mark.parametrize(("labels", "options", "message"), BAD, ids=[m for *_, m in BAD])
def test_bad_targets_are_named(labels, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        softmax_cross_entropy(np.zeros((1, 2)), np.array(labels), **options)


def run(loss):
    model = nn.mlp([2, 8, 3], rng=0)
    return train.Trainer(model, loss, fastreg.Adam(0.02), rng=0, progress=False)


def blobs(rng, n=150):
    y = rng.integers(0, 3, n)
    return np.eye(3)[y][:, :2] * 3 + 0.3 * rng.normal(size=(n, 2)), y


def test_a_trainer_learns_from_soft_targets_and_counts_their_likeliest_class(fixed_rng):
    X, y = blobs(fixed_rng)
    soft = 0.8 * np.eye(3)[y] + 0.2 / 3
    one = run("softmax_cross_entropy")
    history = one.fit(X, soft, epochs=30, X_val=X, y_val=soft)
    assert history["accuracy"][-1] == 1.0 == history["val_accuracy"][-1]
    assert (one.predict(X) == y).all()
    np.testing.assert_allclose(one.predict_proba(X).max(axis=1).mean(), 0.8 + 0.2 / 3, atol=0.03)
    with pytest.raises(ValueError, match="y must be classes, or rows of probabilities"):
        one.fit(X, 2 * soft, epochs=1)


def test_a_trainer_leaves_ignored_rows_out(fixed_rng):
    X, y = blobs(fixed_rng)
    out = fixed_rng.uniform(size=150) < 0.3
    loss = functools.partial(softmax_cross_entropy, ignore_index=-1)
    one, other = run(loss), run(softmax_cross_entropy)
    found = one.fit(X, np.where(out, -1, y), epochs=3, X_val=X, y_val=np.where(out, -1, y))
    wanted = other.fit(X[~out], y[~out], epochs=3, X_val=X[~out], y_val=y[~out])
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert found[name] == wanted[name]
    harness.same_states(one.model.state_dict(), other.model.state_dict())
    assert one.evaluate(X, np.where(out, -1, y)) == other.evaluate(X[~out], y[~out])
    with pytest.raises(ValueError, match="y must have a sample whose label is not -1"):
        one.fit(X, np.full(150, -1), epochs=1)
    with pytest.raises(ValueError, match="y must be from 0 to 2, got -2"):
        one.fit(X, np.full(150, -2), epochs=1)
