"""Callbacks that write what a run does: the best checkpoint, CSV, TensorBoard."""

import copy
import csv
import math
import os
import pickle
import sys
import types
import warnings

import numpy as np
import pytest
from runs import Adam, blobs, everything, fit, network, trainer, weights

from fastreg.callbacks import BestCheckpoint, Callback, CSVLogger, TensorBoard, logs
from fastreg.stopping import EarlyStopping


class Keep(Callback):
    """The weights of every epoch."""

    def __init__(self):
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(weights(self.trainer.model))


def rich(*followers, **options):
    options = {"metrics": ["auc"], "optimizer": Adam(0.1), **options}
    return trainer(callbacks=followers, **options)


# --- the best checkpoint --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "given", "column", "mode"),
    [
        ({}, {}, "val_loss", "min"),
        ({}, {"monitor": "val_auc"}, "val_auc", "max"),
        ({"monitor": "val_auc"}, {}, "val_auc", "max"),
        ({"monitor": "val_auc"}, {"monitor": "train_loss"}, "loss", "min"),
        ({"monitor": "val_auc", "mode": "min"}, {}, "val_auc", "min"),
        ({}, {"monitor": "val_accuracy", "mode": "min"}, "val_accuracy", "min"),
    ],
)
def test_the_file_holds_the_best_epoch(options, given, column, mode, tmp_path):
    keep, best = Keep(), BestCheckpoint(tmp_path / "best.ckpt", **given)
    run = rich(keep, best, **options)
    history = fit(run, epochs=12)
    epoch = int(getattr(np, f"arg{mode}")(history[column]))
    assert (best.best_epoch, best.best_value) == (epoch, history[column][epoch])
    again = rich(Keep(), BestCheckpoint(tmp_path / "x"), model=network(seed=5), **options)
    again.load(tmp_path / "best.ckpt")
    assert weights(again.model) == keep.weights[epoch]
    assert again.epoch == epoch + 1


def test_without_validation_data_it_watches_the_training_loss(tmp_path):
    best = BestCheckpoint(tmp_path / "best.ckpt")
    history = rich(best).fit(*blobs(30), epochs=4)
    assert best.best_value == min(history["loss"])


def test_a_run_goes_on_from_its_best_epoch(tmp_path):
    path = tmp_path / "best.ckpt"
    whole, best = rich(), BestCheckpoint(path)
    fit(whole, epochs=9)
    fit(rich(best), epochs=6)
    other = rich(BestCheckpoint(tmp_path / "other.ckpt"), model=network(seed=7))
    fit(other, epochs=9, resume_from=path)
    assert everything(other) == everything(whole)


def test_a_resumed_run_replaces_the_file_by_something_better_only(tmp_path):
    run = rich()
    history = fit(run, epochs=3)
    run.save(tmp_path / "run.ckpt")
    best = BestCheckpoint(tmp_path / "best.ckpt", monitor="val_loss", mode="max")
    assert max(history["val_loss"]) == history["val_loss"][0]
    fit(rich(best), epochs=4, resume_from=tmp_path / "run.ckpt")
    assert best.best_epoch is None
    assert not os.path.exists(best.path)


def test_epochs_without_a_finite_value_are_never_best(tmp_path):
    best = BestCheckpoint(tmp_path / "best.ckpt", monitor="x")
    column, saved = [], []
    best.trainer = types.SimpleNamespace(
        history={"x": column},
        recorded={"x": "min"},
        save=lambda path: saved.append(len(column) - 1),
    )
    best.on_train_begin()
    for epoch, value in enumerate([math.nan, 3.0, math.inf, 3.0, 2.0, -math.inf, math.nan]):
        column.append(value)
        best.on_epoch_end(epoch)
    assert saved == [1, 4]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"monitor": "val_f1"}, ValueError, "BestCheckpoint: monitor must be one of loss"),
        ({"monitor": "val_loss"}, ValueError, "BestCheckpoint: monitor must be one of loss"),
    ],
)
def test_a_monitor_that_nobody_records_is_refused_before_the_first_step(
    given, error, message, tmp_path
):
    run = rich(BestCheckpoint(tmp_path / "best.ckpt", **given))
    with pytest.raises(error, match=message):
        run.fit(*blobs(30), epochs=1)  # without validation data
    assert run.step == 0


def test_a_folder_that_is_not_there_is_refused_before_the_first_step(tmp_path):
    for follower in (
        BestCheckpoint(tmp_path / "no" / "best.ckpt"),
        CSVLogger(tmp_path / "no" / "x"),
    ):
        run = rich(follower)
        with pytest.raises(FileNotFoundError):
            fit(run)
        assert run.step == 0


def test_bad_arguments_are_refused_by_name():
    for make in (BestCheckpoint, CSVLogger, TensorBoard):
        with pytest.raises(TypeError, match=f"{make.__name__}: (path|logdir) must be a str"):
            make(3)
    with pytest.raises(TypeError, match="BestCheckpoint: monitor must be a str"):
        BestCheckpoint("x", monitor=3)
    with pytest.raises(ValueError, match="BestCheckpoint: mode must be one of"):
        BestCheckpoint("x", mode="up")


# --- CSV ------------------------------------------------------------------------------------


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    return head, rows


def same_as(path, history):
    head, rows = read(path)
    assert head == ["epoch", *history]
    assert [int(row[0]) for row in rows] == list(range(len(history["loss"])))
    for place, column in enumerate(history.values(), 1):
        np.testing.assert_array_equal([float(row[place]) for row in rows], column)


class Reader(Callback):
    """Read the file after every epoch, as another process would."""

    def __init__(self, path):
        self.path, self.lines = path, []

    def on_epoch_end(self, epoch, logs=None):
        self.lines.append(len(read(self.path)[1]))


def test_every_epoch_is_a_line_at_once(tmp_path):
    path = tmp_path / "run.csv"
    reader = Reader(path)
    run = rich(CSVLogger(path), reader)
    history = fit(run, epochs=4)
    same_as(path, history)
    assert reader.lines == [1, 2, 3, 4]


def test_a_resumed_run_goes_on_after_the_epochs_it_took_over(tmp_path):
    path = tmp_path / "run.csv"
    first = rich(CSVLogger(path))
    fit(first, epochs=2)
    first.save(tmp_path / "run.ckpt")
    fit(first, epochs=4, resume_from=tmp_path / "run.ckpt")  # and a crash: no save
    second = rich(CSVLogger(path), model=network(seed=8))
    history = fit(second, epochs=5, resume_from=tmp_path / "run.ckpt")
    same_as(path, history)
    assert path.read_text().count("epoch") == 1


def test_a_run_that_begins_replaces_the_file(tmp_path):
    path = tmp_path / "run.csv"
    path.write_text("something else\n")
    run = rich(CSVLogger(path))
    same_as(path, fit(run, epochs=2) and run.history)
    same_as(path, fit(run, epochs=1))


class Extra(Callback):
    """Add a column of its own from the third epoch on, under an awkward name."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch >= 2:
            column = self.trainer.history.setdefault('a,"b"', [math.nan] * epoch)
            del column[epoch:]
            column.append(float(epoch))


def test_columns_that_join_later_are_written_with_all_epochs(tmp_path):
    path = tmp_path / "run.csv"
    history = fit(rich(Extra(), CSVLogger(path)), epochs=4)
    same_as(path, history)


def test_a_file_that_was_taken_away_is_written_anew(tmp_path):
    path = tmp_path / "run.csv"

    class Thief(Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                path.unlink()

    history = fit(rich(CSVLogger(path), Thief()), epochs=4)
    same_as(path, history)


# --- TensorBoard ----------------------------------------------------------------------------


class Writer:
    """What both writers have in common, with a record of all calls."""

    made = []

    def __init__(self, logdir):
        self.logdir, self.scalars, self.flushed, self.closed = logdir, [], 0, False
        Writer.made.append(self)

    def add_scalar(self, name, value, step):
        assert not self.closed
        self.scalars.append((name, value, step))

    def flush(self):
        self.flushed += 1

    def close(self):
        self.closed = True


@pytest.fixture(params=logs.WRITERS, ids=lambda pair: pair[0])
def writer(request, monkeypatch):
    """One of the packages that write, in place of what is installed."""
    for module, _ in logs.WRITERS:
        monkeypatch.setitem(sys.modules, module, None)
    module, name = request.param
    top = module.split(".")[0]
    if top not in sys.modules:
        monkeypatch.setitem(sys.modules, top, types.ModuleType(top))
    stand_in = types.ModuleType(module)
    setattr(stand_in, name, Writer)
    monkeypatch.setitem(sys.modules, module, stand_in)
    monkeypatch.setattr(Writer, "made", [])
    return Writer


def test_every_column_of_every_epoch_is_a_scalar(writer, tmp_path):
    board = TensorBoard(tmp_path / "runs")
    run = rich(board)
    history = fit(run, epochs=3)
    (made,) = writer.made
    assert made.logdir == str(tmp_path / "runs")
    assert made.scalars == [
        (name, column[epoch], epoch) for epoch in range(3) for name, column in history.items()
    ]
    assert (made.flushed, made.closed) == (3, True)
    fit(run, epochs=1)
    assert len(writer.made) == 2


def test_a_file_that_an_exception_left_open_is_closed_by_the_next_run(writer, tmp_path):
    class Fail(Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise RuntimeError

    board = TensorBoard(tmp_path)
    with pytest.raises(RuntimeError):
        fit(rich(board, Fail()))
    assert not writer.made[0].closed
    board.trainer = None
    for again in (copy.deepcopy(board), pickle.loads(pickle.dumps(board))):
        assert again._writer is None
    fit(rich(board), epochs=1)
    assert [made.closed for made in writer.made] == [True, True]


def test_without_a_writer_the_error_says_what_to_install(monkeypatch):
    for module, _ in logs.WRITERS:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match="TensorBoard: .* pip install tensorboard"):
        TensorBoard("runs")


def test_tensorboard_reads_what_was_written(tmp_path):
    pytest.importorskip("tensorboard.summary")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = fit(rich(TensorBoard(tmp_path)), epochs=3)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    for name, column in history.items():
        found = events.Tensors(name)
        assert [event.step for event in found] == [0, 1, 2]
        np.testing.assert_allclose(
            [event.tensor_proto.float_val[0] for event in found], column, rtol=1e-6
        )


# --- all of them ----------------------------------------------------------------------------


def test_followers_change_nothing(tmp_path):
    plain = rich(early_stopping=EarlyStopping(50))
    followed = rich(BestCheckpoint(tmp_path / "best"), CSVLogger(tmp_path / "csv"),
                    early_stopping=EarlyStopping(50))  # fmt: skip
    fit(plain), fit(followed)
    assert everything(plain) == everything(followed)


def test_estimators_of_scikit_learn_take_them(tmp_path):
    pytest.importorskip("sklearn")
    from fastreg.sklearn import MLPClassifier

    X, y = blobs(60)
    best, log = BestCheckpoint(tmp_path / "best.ckpt"), CSVLogger(tmp_path / "run.csv")
    net = MLPClassifier(
        (4,), max_iter=3, early_stopping=True, callbacks=[best, log], random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # three epochs are few
        net.fit(X, y)
    assert best.best_value == max(net.validation_scores_)
    assert read(tmp_path / "run.csv")[0] == ["epoch", "loss", "learning_rate", "val_score"]
