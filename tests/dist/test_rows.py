"""Every rank reads its own rows of a batch; together they read each once, and train as one."""

import threading
from functools import partial

import numpy as np
import pytest
import ranks
from test_ranks import X, Y, network, trainer, weights

import fastreg
from fastreg import nn
from fastreg._train import feed, pieces
from fastreg.data import Rows
from fastreg.nn import Sequential
from fastreg.train import Trainer

CUTS = (0, 30, 37, 80, 83, 120, 150)  # one batch has fewer rows than there are shards


def batches(*data):
    return [tuple(one[a:b] for one in data) for a, b in zip(CUTS[:-1], CUTS[1:], strict=True)]


def wide(comm):
    return Trainer(Sequential(network().layers[:1]), nn.mse, fastreg.SGD(0.01),
                   comm=comm, shards=4, rng=2, progress=False)  # fmt: skip


def ignoring(comm):
    loss = partial(nn.softmax_cross_entropy, ignore_index=0)
    return Trainer(network(), loss, fastreg.Adam(0.01), comm=comm, shards=4, rng=2, progress=False)


targets = np.random.default_rng(3).standard_normal((150, 300)).astype(np.float32)
narrow = {"batch_size": 22}
SOURCES = {
    "arrays": lambda: ({}, (X, Y), narrow),
    "arrays with wide targets": lambda: ({"of": wide}, (X, targets), narrow | {"accumulate": 3}),
    "blocks": lambda: ({}, (Rows(X, Y, block=10, window=3),), narrow),
    "blocks in their order": lambda: ({}, (Rows(X, Y, block=5, window=1, shuffle=False),), narrow),
    "float64 blocks": lambda: ({}, (Rows(X.astype("d"), Y, block=11, window=4),), narrow),
    "one window": lambda: ({}, (Rows(X, Y),), narrow | {"accumulate": 2}),
    "one batch": lambda: ({}, (Rows(X, Y),), {"batch_size": 400}),
    "weighted blocks": lambda: ({}, (Rows(X, Y, weights, block=10, window=3),), narrow),
    "ignored blocks": lambda: ({"of": ignoring}, (Rows(X, Y, block=10, window=3),), narrow),
    "batches": lambda: ({}, (batches(X, Y),), {"accumulate": 2}),
    "weighted batches": lambda: ({}, (batches(X, Y, weights),), {}),
    "lists": lambda: ({}, ([(a.tolist(), b.tolist()) for a, b in batches(X, Y)],), {}),
    "function": lambda: ({}, (lambda number: batches(X[:: -1 if number else 1], Y),), {}),
    "steps": lambda: ({}, (batches(X.astype("d"), Y),), {"steps_per_epoch": 4}),
    "iterator": lambda: ({}, (iter(batches(X, Y) * 2),), {"steps_per_epoch": 3}),
}  # fmt: skip


def train(name, comm, path, **options):
    how, data, given = SOURCES[name]()
    run = how["of"](comm) if "of" in how else trainer("SGD", comm=comm, shards=4)
    run.fit(*data, **{"epochs": 2, **given, **options})
    run.save(path)
    return run


@pytest.mark.parametrize("name", SOURCES)
def test_sources_have_the_bits_of_one_rank(name, tmp_path):
    train(name, None, tmp_path / "alone")
    ranks.run(3, lambda comm: train(name, comm, tmp_path / "some"))
    assert (tmp_path / "some").read_bytes() == (tmp_path / "alone").read_bytes()


@pytest.mark.parametrize("name", ["blocks", "steps"])
def test_a_source_goes_on_in_the_middle_of_an_epoch(name, tmp_path):
    class Stop(fastreg.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.trainer.stop_training = self.trainer.step == 6

    def begin(comm):
        run = trainer("SGD", comm=comm, shards=4, callbacks=[Stop()])
        _, data, given = SOURCES[name]()
        run.fit(*data, **{"epochs": 2, **given})
        run.save(tmp_path / "some")

    train(name, None, tmp_path / "whole")
    ranks.run(3, begin)
    rest = {"resume_from": tmp_path / "some"}
    ranks.run(2, lambda comm: train(name, comm, tmp_path / "rest", **rest))
    assert (tmp_path / "rest").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("name", ["arrays", "blocks", "one window", "batches", "steps"])
@pytest.mark.parametrize("size", [2, 4])
def test_ranks_read_their_own_rows_alone(name, size, tmp_path, monkeypatch):
    read, real_rows, real_table = {}, feed.rows_at, pieces.check_table

    def count(n):
        own = threading.current_thread()
        read[own] = read.get(own, 0) + n

    def rows_at(source, order, start, stop, room=None):
        count(stop - start if source.ndim > 1 else 0)
        return real_rows(source, order, start, stop, room)

    def check_table(where, X_name, table, *rest):
        count(len(table))
        return real_table(where, X_name, table, *rest)

    class Forget(fastreg.callbacks.Callback):  # the looks at the first rows
        def on_train_begin(self, logs=None):
            read[threading.current_thread()] = 0

    def work(comm):
        run = trainer("SGD", comm=comm, shards=4, callbacks=[Forget()])
        _, data, given = SOURCES[name]()
        run.fit(*data, **{"epochs": 1, **given})

    monkeypatch.setattr(feed, "rows_at", rows_at)
    monkeypatch.setattr(pieces, "check_table", check_table)
    ranks.run(size, work)
    shares = read.values()
    wanted = CUTS[4] if name == "steps" else len(X)
    assert wanted <= sum(shares) <= wanted + 1  # of three rows in four shards, one rank has none
    assert max(shares) <= 0.6 * wanted
