"""The training loop: what it visits, what it reports and the state it leaves behind."""

import numpy as np
import pytest

import fastreg
from fastreg.nn import Dense, ReLU, Sequential, softmax_cross_entropy
from fastreg.train import evaluate, fit


def blobs(n=90, seed=0):
    """Three classes around three points, in float64."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    centres = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 3.0]])
    return centres[labels] + rng.normal(size=(n, 2)), labels


def network(seed=1):
    rng = np.random.default_rng(seed)
    return Sequential(
        [
            Dense(2, 8, rng=rng, dtype=np.float64),
            fastreg.BatchNorm(8),
            ReLU(),
            fastreg.Dropout(0.2, rng=seed),
            Dense(8, 3, rng=rng, dtype=np.float64),
        ]
    )


def train(model=None, loss=softmax_cross_entropy, optimizer=None, data=None, **options):
    model = model or network()
    X, y = data or blobs()
    options = {"epochs": 4, "batch_size": 16, "rng": 2, **options}
    return model, fit(model, loss, optimizer or fastreg.Adam(0.02), X, y, **options)


def weights(model):
    return b"".join(array.tobytes() for array in model.params.values())


class Recorder:
    """A loss that remembers which labels came in which batches."""

    def __init__(self):
        self.batches = []

    def __call__(self, outputs, labels):
        self.batches.append(labels.tolist())
        return 0.0, np.zeros_like(outputs)


def test_it_learns_what_can_be_learned():
    model, history = train(epochs=40)
    assert history["loss"][-1] < history["loss"][0] / 3
    assert evaluate(model, softmax_cross_entropy, *blobs(seed=5))[1] > 0.95


def test_the_history_holds_what_evaluation_finds_after_each_epoch():
    X_val, y_val = blobs(n=30, seed=6)
    model, history = train(X_val=X_val, y_val=y_val, evaluate_training=True)
    keys = {"loss", "accuracy", "val_loss", "val_accuracy", "ms_per_step", "seconds"}
    keys |= {"learning_rate", "gradient_norm", "weight_norm", "near_zero"}
    assert set(history) == keys
    assert {len(values) for values in history.values()} == {4}
    assert all(ms > 0 for ms in history["ms_per_step"])
    last = [history[key][-1] for key in ("val_loss", "val_accuracy", "loss", "accuracy")]
    found = evaluate(model, softmax_cross_entropy, X_val, y_val)
    assert last == [*found, *evaluate(model, softmax_cross_entropy, *blobs())]


def test_without_evaluation_the_history_holds_the_means_over_the_batches():
    X, y = blobs()
    share = np.arange(90) % 4 + 0.5
    seen = []

    def loss(outputs, labels, *, sample_weight=None):
        found = softmax_cross_entropy(outputs, labels, sample_weight=sample_weight)
        if model.training:
            seen.append((found[0], sample_weight.sum(), outputs.argmax(axis=1) == labels))
        return found

    loss.link, model = "softmax", network()
    _, history = train(model, loss, data=(X, y), epochs=2, sample_weight=share)
    assert [len(right) for *_, right in seen] == 2 * [16, 16, 16, 16, 16, 10]
    for epoch, batches in enumerate((seen[:6], seen[6:])):
        total = sum(value * weight for value, weight, _ in batches)
        assert history["loss"][epoch] == pytest.approx(total / share.sum(), rel=1e-12)
        assert history["accuracy"][epoch] == np.concatenate([right for *_, right in batches]).mean()


def test_an_epoch_reads_the_data_once_and_a_few_rows_more():
    loss = Recorder()
    train(loss=loss, data=(np.zeros((10, 2)), np.arange(10)), epochs=2, batch_size=4)
    assert [len(batch) for batch in loss.batches] == 2 * [4, 4, 2, 4]


def test_evaluation_is_the_mean_loss_and_the_share_of_rows_read_right():
    model, (X, y) = network(), blobs(n=9)
    value, accuracy = evaluate(model, softmax_cross_entropy, X, y)
    model.eval()
    rows = [model.forward(row[None]) for row in X]
    losses = [softmax_cross_entropy(row, y[i : i + 1])[0] for i, row in enumerate(rows)]
    assert value == pytest.approx(np.mean(losses), rel=1e-12)
    assert accuracy == np.mean([row.argmax() == y[i] for i, row in enumerate(rows)])


def test_an_epoch_visits_every_sample_once_in_a_new_order():
    X, ids = np.zeros((10, 2)), np.arange(10)
    loss = Recorder()
    train(loss=loss, data=(X, ids), epochs=2, batch_size=4, evaluate_training=True)
    sizes = [len(batch) for batch in loss.batches]
    assert sizes == 2 * [4, 4, 2, 10]  # three batches, then evaluation on the whole set
    first, second = (np.concatenate(loss.batches[i : i + 3]).tolist() for i in (0, 4))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_two_fits_of_the_same_objects_are_equal():
    (one, history), (two, again) = train(), train()
    assert weights(one) == weights(two)
    assert history["loss"] == again["loss"]
    assert weights(one) != weights(train(rng=3)[0])


def test_epochs_in_separate_calls_are_epochs_in_one():
    whole, history = train(epochs=3)
    model, optimizer, rng = network(), fastreg.Adam(0.02), np.random.default_rng(2)
    pieces = [train(model, optimizer=optimizer, epochs=1, rng=rng)[1] for _ in range(3)]
    assert weights(model) == weights(whole)
    assert [piece["loss"][0] for piece in pieces] == history["loss"]


def test_validation_data_is_only_looked_at():
    X_val, y_val = blobs(n=30, seed=6)
    assert weights(train()[0]) == weights(train(X_val=100 * X_val, y_val=y_val)[0])


def test_without_batch_norm_both_backends_train_to_the_same_bits():
    X, y = blobs()
    trained = []
    for backend in (fastreg, fastreg.reference):
        layers = [Dense(2, 8, rng=7), ReLU(), backend.Dropout(0.3, rng=8), Dense(8, 3, rng=9)]
        model = Sequential(layers)
        before = weights(model)
        train(model, optimizer=backend.Adam(0.01), data=(X.astype(np.float32), y))
        assert weights(model) != before
        trained.append(weights(model))
    assert trained[0] == trained[1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, FloatingPointError])
def test_evaluation_mode_is_restored_when_a_step_fails(error):
    def failing(outputs, labels):
        raise error

    model = network()
    with pytest.raises(error):
        train(model, loss=failing)
    assert not model.training
    assert not any(layer.training for layer in model.layers)


def test_evaluation_mode_is_left_on_after_training():
    model, _ = train()
    assert not any(layer.training for layer in (model, *model.layers))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "fit: epochs must be at least 1, got 0"),
        ({"epochs": 1.5}, TypeError, "fit: epochs must be an integer, got 1.5"),
        ({"epochs": True}, TypeError, "epochs must be an integer, got True"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"data": (np.zeros((3, 2)), np.arange(2))}, ValueError, "X and y .* lengths 3 and 2"),
        ({"data": (np.zeros((0, 2)), np.arange(0))}, ValueError, "at least one, got shape"),
        ({"X_val": np.zeros((3, 2))}, ValueError, "got no y_val"),
        ({"y_val": np.arange(3)}, ValueError, "got no X_val"),
        ({"X_val": np.zeros((3, 2)), "y_val": np.arange(4)}, ValueError, "lengths 3 and 4"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_trained(options, error, message):
    model = network()
    before = weights(model)
    with pytest.raises(error, match=message):
        train(model, **options)
    assert weights(model) == before
