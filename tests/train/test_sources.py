"""Training on what is read meanwhile: the same bits as arrays, bounded memory, clear refusals."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from runs import blobs, cumulative, everything, fit, stop, trainer, weights

from fastreg import checkpoint, schedule
from fastreg.callbacks import Callback
from fastreg.data import Rows
from fastreg.nn import softmax_cross_entropy
from fastreg.train import evaluate

X, Y = blobs(75)
HOW = {"epochs": 4, "batch_size": 16}


class OnDisk:
    """What h5py and zarr have: a length and slices, nothing else; it remembers what was read."""

    def __init__(self, *parts):
        self.parts, self.read = parts, []

    def __len__(self):
        return len(self.parts[0])

    def __getitem__(self, rows):
        assert isinstance(rows, slice) and rows.step is None
        self.read.append((rows.start, rows.stop))
        found = tuple(part[rows].copy() for part in self.parts)
        return found if len(found) > 1 else found[0]


class Recorder:
    """A loss that keeps the labels of the batches of training."""

    link = None

    def __init__(self):
        self.batches = []

    def __call__(self, outputs, y, sample_weight=None):
        if self.run.model.training:
            self.batches.append(y.tolist())
        return 0.0, np.zeros_like(outputs)

    def fit(self, source, **how):
        self.run = trainer(loss=self)
        self.run.fit(source, **{"epochs": 1, "batch_size": 16} | how)
        return self.batches


def batches(n=75, size=16):
    order = np.random.default_rng(7).permutation(n)
    return [(X[part], Y[part]) for part in np.split(order, range(size, n, size))]


class Stop(Callback):
    def __init__(self, at):
        self.at = at

    def on_train_batch_end(self, batch, logs=None):
        if self.trainer.step == self.at:
            stop(self.trainer)


# --- rows ----------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 7, 16, None])
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_in_one_window_train_with_the_bits_of_arrays(block, weighted):
    share = np.random.default_rng(0).exponential(size=75) if weighted else None
    one, two, three = (trainer(schedule=schedule.cosine(0.1, total="fit")) for _ in range(3))
    X_val, y_val = blobs(30, seed=6)
    how = HOW | {"evaluate_training": True}
    one.fit(X, Y, X_val=X_val, y_val=y_val, sample_weight=share, **how)
    parts = [OnDisk(part) for part in (X, Y, share) if part is not None]
    source = Rows(*parts, block=block, window=80)
    two.fit(source, X_val=Rows(OnDisk(X_val), y_val), **how)
    three.fit(Rows(OnDisk(X, Y, *[share] * weighted), block=block, window=80),
              X_val=OnDisk(X_val, y_val), **how)  # fmt: skip
    assert everything(one) == everything(two) == everything(three)


def test_a_class_of_ones_own_is_a_source():
    one, two = trainer(), trainer()
    one.fit(X, Y, **HOW, accumulate=2), two.fit(OnDisk(X, Y), **HOW, accumulate=2)
    assert everything(one) == everything(two)


@pytest.mark.parametrize(
    ("block", "window", "size"), [(5, 3, 16), (7, 2, 4), (1, 4, 3), (32, 1, 75)]
)
def test_blocks_are_read_whole_and_once_and_rows_mixed_within_windows(block, window, size):
    source = OnDisk(X, np.arange(75))
    found = Recorder().fit(Rows(source, block=block, window=window), batch_size=size, epochs=2)
    per_epoch = -(-75 // size)
    first, second = found[:per_epoch], found[per_epoch:]
    for epoch in (first, second):
        assert sorted(sum(epoch, [])) == list(range(75))
        assert {len(batch) for batch in epoch[:-1]} <= {size}
    assert first != second
    blocks = [(a, min(a + block, 75)) for a in range(0, 75, block)]
    reads = source.read[1:]  # the first looks at what there is
    assert sorted(reads[: len(blocks)]) == sorted(reads[len(blocks) :]) == blocks
    in_window = {k for a, b in reads[:window] for k in range(a, b)}
    assert set(sum(first, [])[: len(in_window)]) == in_window
    assert Recorder().fit(Rows(OnDisk(X, np.arange(75)), block=block, window=window),
                          batch_size=size) == first  # fmt: skip


def test_without_shuffling_rows_come_in_their_order():
    found = Recorder().fit(Rows(X, np.arange(75), block=8, window=2, shuffle=False))
    assert sum(found, []) == list(range(75))
    assert list(map(len, found)) == [16, 16, 16, 16, 11]


@pytest.mark.parametrize("at", [1, 4, 5, 7, 13])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_rows_go_on_bit_for_bit(tmp_path, at, accumulate):
    how = HOW | {"accumulate": accumulate}
    rows = Rows(X, Y, block=5, window=4)
    parts = {"model": cumulative(), "schedule": schedule.cosine(0.1, total="fit")}
    straight = trainer(**parts)
    first = trainer(**parts | {"model": cumulative()}, callbacks=[Stop(at)])
    second = trainer(**parts | {"model": cumulative()})
    straight.fit(rows, **how), first.fit(rows, **how)
    first.save(tmp_path / "run")
    source = OnDisk(X, Y)
    second.fit(Rows(source, block=5, window=4), **how, resume_from=tmp_path / "run")
    assert everything(second) == everything(straight)
    for other in (Rows(X, Y, block=6, window=4), Rows(X, Y, block=5, window=4, shuffle=False)):
        with pytest.raises(checkpoint.CheckpointError, match="source"):
            trainer(**parts).fit(other, **how, resume_from=tmp_path / "run")


def test_windows_that_a_resumed_run_has_had_are_not_read(tmp_path):
    first, second = trainer(callbacks=[Stop(4)]), trainer()
    rows = {"block": 8, "window": 2}
    first.fit(Rows(X, Y, **rows), batch_size=16, epochs=1)
    first.save(tmp_path / "run")
    source = OnDisk(X, Y)
    second.fit(Rows(source, **rows), batch_size=16, epochs=1, resume_from=tmp_path / "run")
    assert 75 - 64 <= sum(b - a for a, b in source.read[1:]) <= 16  # the last window


def test_means_over_pieces_are_those_over_all_rows():
    X_val, y_val = blobs(90, seed=6)
    one, two, three = trainer(), trainer(), trainer()
    how = {"batch_size": 16, "epochs": 3}
    a = one.fit(X, Y, X_val=X_val, y_val=y_val, **how)
    b = two.fit(X, Y, X_val=Rows(X_val, y_val, block=7, window=2), **how)
    c = three.fit(
        X, Y, X_val=[(X_val[i : i + 11], y_val[i : i + 11]) for i in range(0, 90, 11)], **how
    )
    for key in ("val_loss", "val_accuracy"):
        np.testing.assert_allclose(b[key], a[key], rtol=1e-12)
        np.testing.assert_allclose(c[key], a[key], rtol=1e-12)


def test_rows_of_weight_zero_take_no_part():
    share = np.where(np.arange(75) % 5 == 0, 0.0, 2.0)
    share[16:32] = 0.0  # a batch of them
    found = Recorder().fit(Rows(X, np.arange(75), share, shuffle=False), batch_size=16)
    assert sum(found, []) == np.flatnonzero(share).tolist()


# --- batches -------------------------------------------------------------------------------


def forms():
    """The same batches in every form that they may come in."""
    given = batches()

    def function():
        yield from given

    def numbered(epoch):
        assert epoch in range(4)
        return iter(given)

    class Loader:
        def __iter__(self):
            return iter(given)

        def __len__(self):
            return len(given)

    return {"list": given, "generator function": function, "numbered": numbered, "loader": Loader(),
            "lambda": lambda: given}  # fmt: skip


@pytest.mark.parametrize("form", forms())
def test_batches_come_in_many_forms(form):
    one, two = trainer(), trainer()
    one.fit(forms()["list"], epochs=4), two.fit(forms()[form], epochs=4)
    assert everything(one) == everything(two)
    assert one.step == 20
    assert one.history["accuracy"][-1] > 0.5


def test_batches_in_the_order_of_arrays_give_their_bits():
    rng = np.random.default_rng(2)

    def source(epoch):
        order = rng.permutation(75)
        return [(X[order[i : i + 16]], Y[order[i : i + 16]]) for i in range(0, 75, 16)]

    one, two = trainer(rng=np.random.default_rng(2)), trainer()
    one.fit(X, Y, **HOW), two.fit(source, epochs=4)
    assert everything(one) == everything(two)


@pytest.mark.parametrize("at", [1, 3, 5, 6, 11])
@pytest.mark.parametrize("per_epoch", [None, 4])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_streams_go_on_bit_for_bit(tmp_path, at, per_epoch, accumulate):
    def source(epoch):
        order = np.random.default_rng(epoch).permutation(75)
        return ((X[part], Y[part]) for part in np.split(order, range(10, 75, 10)))

    how = {"epochs": 4, "steps_per_epoch": per_epoch, "accumulate": accumulate}
    straight, first, second = trainer(), trainer(callbacks=[Stop(at)]), trainer()
    straight.fit(source, **how), first.fit(source, **how)
    first.save(tmp_path / "run")
    second.load(tmp_path / "run")
    second.fit(source, **how, resume_from=tmp_path / "run")
    assert everything(second) == everything(straight)


def test_an_endless_iterator_has_epochs_of_so_many_steps():
    def endless():
        while True:
            yield from batches()

    one, two = trainer(), trainer()
    rate = schedule.cosine(0.1, total="fit")
    one.schedule = two.schedule = rate
    one.fit(endless(), epochs=3, steps_per_epoch=5), two.fit(batches(), epochs=3)
    assert everything(one) == everything(two)
    assert one.optimizer.lr == rate.bind(steps_per_epoch=5, epochs=3)(14)


@pytest.mark.parametrize("error", [TypeError, NotImplementedError])
def test_a_loader_may_have_a_length_that_is_not_known(error):
    """As torch's DataLoader of an IterableDataset."""

    class Loader:
        def __len__(self):
            raise error("no len()")

        def __iter__(self):
            return iter(batches())

    one, two = trainer(), trainer()
    one.fit(Loader(), X_val=Loader(), epochs=2), two.fit(batches(), X_val=batches(), epochs=2)
    assert dict(one.history)["val_loss"] == dict(two.history)["val_loss"]
    assert one.evaluate(Loader()) == two.evaluate(batches())


def test_a_function_without_end_is_read_for_an_epoch_and_no_more():
    read = []

    def endless():
        for _ in range(1000):
            for one in batches():
                read.append(1)
                yield one
        pytest.fail("it is read to its end")

    how = {"epochs": 2, "steps_per_epoch": 3, "accumulate": 2}
    for more in {}, {"evaluate_training": True}:
        read.clear()
        run = trainer(metrics=["auc"])
        run.fit(endless, **how, **more)
        assert np.isfinite(run.history["auc"]).all()
        assert len(read) <= 1 + 6 + 12 + 12 * bool(more)


def test_steps_per_epoch_goes_on_in_the_pass_and_begins_another():
    found = Recorder().fit(lambda: [(X[i : i + 2], [i, i]) for i in range(5)], epochs=3,
                           steps_per_epoch=4)  # fmt: skip
    assert [batch[0] for batch in found] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]


# --- refusals ------------------------------------------------------------------------------


class Lying(OnDisk):
    """Its answers change from the third on."""

    def __init__(self, change):
        super().__init__(X, Y)
        self.change = change

    def __getitem__(self, rows):
        found = super().__getitem__(rows)
        return self.change(*found) if len(self.read) > 2 else found


CHANGES = {
    "fewer rows": (lambda x, y: (x[1:], y), r"X of source\[\d+:\d+\] must have \d+ rows"),
    "fewer targets": (lambda x, y: (x, y[1:]), r"y of source\[\d+:\d+\] must have \d+ rows"),
    "features": (lambda x, y: (x[:, :1], y), "must have 2 features"),
    "alone": (lambda x, y: x, r"must be \(X, y\) or \(X, y, sample_weight\)"),
    "None": (lambda x, y: None, r"must be \(X, y\)"),
    "type of y": (lambda x, y: (x, y.astype(np.int16)), "whose y.dtype is int64, got int16"),
    "floats": (lambda x, y: (x, y * 0.5), "y of source.* must be integers"),
    "classes": (lambda x, y: (x, y + 7), "must be from 0 to 2"),
    "weights": (lambda x, y: (x, y, np.ones(len(y))), "sample_weight is False, got True"),
    "text": (lambda x, y: (x.astype(str), y), "must be an array of real numbers"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_source_that_changes_is_refused_and_the_step_undone(change):
    made, words = CHANGES[change]
    run = trainer()
    with pytest.raises((TypeError, ValueError), match=f"^Trainer.fit: .*{words}"):
        run.fit(Rows(Lying(made), block=16, window=1), batch_size=16, epochs=3)
    assert run.optimizer.t == run.step
    assert run._broken is None


@pytest.mark.parametrize("change", [one for one in CHANGES if one != "fewer rows"])
def test_batches_that_change_are_refused(change):
    made, words = CHANGES[change]
    words = words.replace(r"\[\d+:\d+\]", ".*").replace(r"must have \d+ rows", "per sample")
    given = batches()
    given[2] = made(*given[2])
    words = "one row per sample" if change == "fewer targets" else words
    with pytest.raises((TypeError, ValueError), match=f"^Trainer.fit: .*{words}"):
        trainer().fit(given, epochs=3)


BAD = {
    "array": (lambda: X, "X and y must come together, got no y"),
    "lists": (lambda: X.tolist(), "X and y must come together, got no y"),
    "dict": (lambda: {"X": X}, "X and y must come together"),
    "text": (lambda: "file.h5", "X and y must come together"),
    "number": (lambda: 3, "X and y must come together"),
    "no rows": (lambda: Rows(X[:0], Y[:0]), "source must have at least one row, got none"),
    "no batches": (lambda: lambda: [], "at least one batch, got none"),
    "exhausted": (lambda: iter([]), "at least one batch, got none"),
    "iterator": (lambda: iter(batches()), "an iterator has the batches of one epoch, got epochs=3"),
    "function of nothing": (lambda: lambda: None, "must be or return an iterable of batches"),
    "rows of X": (lambda: Rows(OnDisk(X)), r"source\[0:64\] must be \(X, y\)"),
    "no pairs": (lambda: lambda: [X], r"source, batch 0, must be \(X, y\)"),
}  # fmt: skip


@pytest.mark.parametrize("source", BAD)
def test_what_is_no_source_is_refused_before_training(source):
    made, words = BAD[source]
    run = trainer(callbacks=[Stop(-1)])
    with pytest.raises((TypeError, ValueError), match=f"^Trainer.fit: .*{words}"):
        run.fit(made(), epochs=3)
    assert run.callbacks[0].trainer is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"steps_per_epoch": 3}, "steps_per_epoch must be None with a length"),
        ({"sample_weight": np.ones(75)}, "sample_weight must come from the source"),
        ({"X_val": iter([(X, Y)])}, "X_val must be read every epoch, got an iterator"),
        ({"X_val": Rows(X[:, :1], Y)}, "must have 2 features"),
        ({"X_val": X}, "X_val and y_val must come together"),
        ({"y_val": Y}, "X_val and y_val must come together"),
    ],
)
def test_arguments_that_do_not_go_with_a_source(given, words):
    with pytest.raises((TypeError, ValueError), match=words):
        trainer().fit(Rows(X, Y), epochs=3, **given)


def test_a_schedule_of_the_run_needs_to_know_its_steps():
    run = trainer(schedule=schedule.cosine(0.1, total="fit"))
    with pytest.raises(ValueError, match="steps_per_epoch must be given for a schedule"):
        run.fit(lambda: batches(), epochs=2)
    run.fit(lambda: batches(), epochs=2, steps_per_epoch=5)
    run.fit(batches(), epochs=2)  # a list says how many


def test_arrays_take_no_steps_per_epoch():
    with pytest.raises(ValueError, match="steps_per_epoch must be None for arrays"):
        fit(trainer(), steps_per_epoch=3)


def test_an_epoch_without_batches_and_a_false_length_are_told():
    with pytest.raises(ValueError, match="at least one batch in pass 1, got 0"):
        trainer().fit(lambda k: [] if k else batches(), epochs=3)

    class Loader:
        def __len__(self):
            return 6

        def __iter__(self):
            return iter(batches())

    with pytest.raises(ValueError, match="must give 6 batches in pass 0, got 5"):
        trainer().fit(Loader(), epochs=3)
    with pytest.raises(ValueError, match="is an iterator and has ended before the fit"):
        trainer().fit(iter(batches()), epochs=3, steps_per_epoch=4)


ROWS = [
    (lambda: Rows(X, Y[1:]), ValueError, "y must have 75 rows, as X, got 74"),
    (lambda: Rows(X, Y, np.ones(3)), ValueError, "sample_weight must have 75 rows"),
    (lambda: Rows(iter(X), Y), TypeError, "X must have len"),
    (lambda: Rows(X, 3), TypeError, "y must have len"),
    (lambda: Rows(None, Y), ValueError, "X and y must come together"),
    (lambda: Rows(X, None, Y), ValueError, "X and y must come together"),
    (lambda: Rows({"a": 1}, Y), TypeError, "X must have len"),
    (lambda: Rows(X, Y, block=0), ValueError, "block must"),
    (lambda: Rows(X, Y, window=1.5), TypeError, "window must"),
    (lambda: Rows(X, Y, shuffle=1), TypeError, "shuffle must"),
]


@pytest.mark.parametrize(("call", "error", "words"), ROWS)
def test_rows_refuse_by_name(call, error, words):
    with pytest.raises(error, match=f"^Rows: {words}"):
        call()


# --- memory --------------------------------------------------------------------------------

LARGE = """
import resource, sys
import numpy as np
from fastreg import SGD
from fastreg.data import Rows
from fastreg.nn import softmax_cross_entropy
from fastreg.nn import mlp, mse
from fastreg.train import Trainer

n, width = 2**21, 256  # 2 GiB of float32, a file with holes
X = np.memmap(sys.argv[1], np.float32, "w+", shape=(n, width))

class OnDisk:
    def __len__(self):
        return n

    def __getitem__(self, rows):  # read, not mapped: what h5py does
        with open(sys.argv[1], "rb") as file:
            file.seek(rows.start * 4 * width)
            x = np.fromfile(file, np.float32, (rows.stop - rows.start) * width)
        return x.reshape(-1, width), np.zeros(len(x) // width, np.float32)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

model = mlp([width, 1], rng=0)
run = Trainer(model, mse, SGD(1e-3), rng=0, progress=False)
before = peak()
run.fit(OnDisk(), X_val=Rows(OnDisk()), epochs=1, batch_size=4096)
print(run.step, peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units, files no holes")
def test_a_file_larger_than_the_bound_is_trained_on_in_bounded_memory(tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", LARGE, str(tmp_path / "X")], capture_output=True, text=True,
        check=True, timeout=600,
    ).stdout.split()  # fmt: skip
    assert int(found[0]) == 512
    assert (
        float(found[1]) < 250
    )  # MiB: two windows of 32, batches and activations; the file has 2048


def test_labels_that_the_loss_ignores_take_no_part():
    loss = partial(softmax_cross_entropy, ignore_index=-1)
    y = np.where(np.arange(75) % 4 == 0, -1, Y)
    y[16:32] = -1
    kept = y >= 0
    one, two, three = (trainer(loss=loss) for _ in range(3))
    how = {"epochs": 2, "batch_size": 100}
    one.fit(X, y, **how), two.fit(Rows(X[kept], y[kept]), **how)
    three.fit(Rows(X, y, shuffle=False), epochs=2, batch_size=16, X_val=Rows(X, y))
    assert everything(one) == everything(two)
    assert np.isfinite(three.history["val_loss"]).all()


@pytest.mark.parametrize("of_rows", [True, False])
@pytest.mark.parametrize("metrics", [(), ("auc",)])
def test_the_first_rows_may_be_of_no_weight_but_not_all(of_rows, metrics):
    weights = np.ones(75)
    weights[:32] = 0

    def source(weights):
        cuts = range(16, 75, 16)
        parts = zip(*(np.split(one, cuts) for one in (X, Y, weights)), strict=True)
        return Rows(X, Y, weights) if of_rows else list(parts)

    run = trainer(metrics=metrics)
    history = run.fit(source(weights), X_val=source(weights), epochs=2, batch_size=16)
    assert np.isfinite([history["loss"], history["val_loss"]]).all()
    with pytest.raises(ValueError, match="y must have a sample whose weight is above 0"):
        trainer(metrics=metrics).fit(source(0 * weights), **HOW)
    with pytest.raises(ValueError, match="y must have a sample whose weight is above 0"):
        trainer(metrics=metrics).fit(iter([(X, Y, 0 * weights)]), epochs=1)
    with pytest.raises(ValueError, match="y_val must have a sample whose weight is above 0"):
        trainer(metrics=metrics).fit(X, Y, X_val=source(0 * weights), **HOW)


@pytest.mark.parametrize("form", ["rows", "blocks", "list", "function", "iterator"])
def test_a_source_is_evaluated_as_its_rows_are(form):
    loss = partial(softmax_cross_entropy, ignore_index=-1)
    run = trainer(loss=loss)
    y = np.where(np.arange(75) < 20, -1, Y)
    parts = [(X[i : i + 16], y[i : i + 16]) for i in range(0, 75, 16)]
    source = {
        "rows": Rows(OnDisk(X, y)),
        "blocks": Rows(OnDisk(X), y, block=7, window=2),
        "list": parts,
        "function": lambda: iter(parts),
        "iterator": iter(parts),
    }[form]
    value, share = run.evaluate(X, y)
    assert run.evaluate(source) == pytest.approx((value, share), rel=1e-6)
    if form != "iterator":
        assert evaluate(run.model, loss, source) == run.evaluate(source)
    assert not run.model.training


def test_weights_of_a_source_count_in_its_evaluation():
    run, weights = trainer(), np.arange(75.0)
    run.model.eval()
    wanted, _ = softmax_cross_entropy(run.model.forward(X), Y, sample_weight=weights)
    found, _ = run.evaluate(Rows(X, Y, weights, block=10, window=2))
    assert found == pytest.approx(wanted, rel=1e-6)


def test_what_cannot_be_evaluated_is_refused_by_name():
    with pytest.raises(ValueError, match="Trainer.evaluate: X must have a sample whose weight"):
        trainer().evaluate(Rows(X, Y, np.zeros(75)))
    with pytest.raises(ValueError, match="Trainer.evaluate: X and y must come together, got no y"):
        trainer().evaluate(X)
    with pytest.raises(TypeError, match=r"Trainer.evaluate: X\[0:75\] must be \(X, y\)"):
        trainer().evaluate(Rows(X))
    with pytest.raises(ValueError, match="Trainer.evaluate: X must give at least one batch"):
        trainer().evaluate(iter([]))


@pytest.mark.parametrize("how", [{}, {"accumulate": 2}, {"steps_per_epoch": 3}])
def test_batches_may_all_be_in_one_buffer(how):
    """A batch is used before the next one is asked for, which may take its memory."""

    class Filled:
        def __init__(self, given):
            self.given = given

        def __iter__(self):
            X, y = (np.empty_like(part[:15]) for part in self.given)
            for start in range(0, 75, 15):
                X[:], y[:] = (part[start : start + 15] for part in self.given)
                yield X, y

    X, y = blobs(75)
    own = [(X[i : i + 15].copy(), y[i : i + 15].copy()) for i in range(0, 75, 15)]
    one, two = trainer(), trainer()
    one.fit(Filled((X, y)), epochs=2, **how), two.fit(lambda: own, epochs=2, **how)
    assert weights(one.model) == weights(two.model)
