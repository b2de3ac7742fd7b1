"""Several ranks train as one: the bits of everything are the same."""

from functools import partial

import numpy as np
import pytest
import ranks

import fastreg
from fastreg import nn
from fastreg.callbacks import Callback, Checkpoint
from fastreg.nn import Dense, ReLU, Sequential
from fastreg.train import Trainer

rng = np.random.default_rng(0)
X = rng.standard_normal((150, 60)).astype(np.float32)
Y = rng.integers(0, 3, 150)
OPTIMIZERS = {
    "SGD": lambda: fastreg.SGD(0.1),
    "AdamW": lambda: fastreg.AdamW(0.01, weight_decay=0.1),
    "clipped": lambda: fastreg.Adam(0.01, clip_norm=0.5, ema_decay=0.9),
    "LAMB": lambda: fastreg.LAMB(0.01),
    "bfloat16": lambda: fastreg.Adam(0.01, state_dtype="bfloat16", clip_norm=0.5, rng=3),
    "int8": lambda: fastreg.AdamW(0.01, state_dtype="int8", weight_decay=0.1, rng=3),
    "int8 averaged": lambda: fastreg.NAdam(0.01, state_dtype="int8", ema_decay=0.9, rng=3),
    "int8 LAMB": lambda: fastreg.LAMB(0.01, state_dtype="int8", rng=3),
}
NARROW = [name for name, optimizer in OPTIMIZERS.items() if optimizer()._state_dtype]


def network():
    gen = np.random.default_rng(1)
    layers = [Dense(60, 300, rng=gen), fastreg.BatchNorm(300), ReLU()]
    layers += [fastreg.Dropout(0.3, rng=4), Dense(300, 17, rng=gen), ReLU()]
    return Sequential([*layers, fastreg.GaussianDropout(0.2, rng=5), Dense(17, 3, rng=gen)])


def fitting(model, optimizer):
    """The network as the optimizer can train it: state in fewer bits is that of float32."""
    norms = [layer for layer in model.layers if isinstance(layer, fastreg.BatchNorm)]
    for norm in norms if optimizer._state_dtype else ():
        norm.gamma, norm.beta = norm.gamma.astype("f4"), norm.beta.astype("f4")
    return model


def trainer(optimizer="AdamW", **options):
    options = {"rng": 2, "progress": False, **options}
    optimizer = OPTIMIZERS[optimizer]()
    model = fitting(network(), optimizer)
    return Trainer(model, nn.softmax_cross_entropy, optimizer, **options)


def train(comm=None, path=None, shards=4, optimizer="AdamW", callbacks=(), run=None, **options):
    own = {} if comm is None and shards is None else {"comm": comm, "shards": shards}
    run = trainer(optimizer, callbacks=callbacks, **own)
    run.fit(X, Y, X_val=X[:40], y_val=Y[:40], **{"epochs": 2, "batch_size": 44, **options})
    if path is not None:
        run.save(path)
    return run


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_any_number_of_ranks_writes_the_same_file(optimizer, tmp_path):
    train(path=tmp_path / "alone", optimizer=optimizer)
    for size in (1, 2, 3, 4):
        path = tmp_path / str(size)
        runs = ranks.run(size, lambda comm, path=path: train(comm, path, optimizer=optimizer))
        assert path.read_bytes() == (tmp_path / "alone").read_bytes()
        for run in runs:  # every rank has all of it, and may go on by itself
            run.optimizer.update(run.model.params, run.model.params)
            for key, array in run.optimizer.state_dict().items():
                same = runs[0].optimizer.state_dict()[key]
                assert np.array_equal(array, same), key


@pytest.mark.parametrize(
    ("optimizer", "order"), [*((one, "C") for one in NARROW), ("bfloat16", "F")]
)
def test_state_in_fewer_bits_is_rounded_as_without_ranks(optimizer, order):
    """An optimizer that is given all parameters at once, and the same gradients, has the bits."""
    run = trainer(optimizer, comm=None, shards=4)
    run.model.layers[0].W = np.array(run.model.layers[0].W, order=order)
    params = {name: np.array(array, order="K") for name, array in run.model.params.items()}
    plain = OPTIMIZERS[optimizer]()

    class Step(Callback):
        def on_train_batch_end(self, batch, logs=None):
            grads = self.trainer._team._parts
            layouts = self.trainer._team.exchange.layouts
            grads = {name: layouts[name].tensor(one.ravel()) for name, one in grads.items()}
            plain.update(params, grads)

    run.callbacks = [Step()]
    run.fit(X, Y, epochs=2, batch_size=44)
    for name, array in run.model.params.items():
        np.testing.assert_array_equal(array, params[name])
    state = run.optimizer.state_dict()
    for key, value in plain.state_dict().items():
        np.testing.assert_array_equal(state[key], value, err_msg=key)


def test_all_ranks_round_by_the_seed_of_the_first(tmp_path):
    def work(comm, path):
        seed = 0 if comm is None else comm.rank
        optimizer = fastreg.Adam(0.01, state_dtype="bfloat16", rng=seed)
        run = Trainer(fitting(network(), optimizer), nn.softmax_cross_entropy, optimizer,
                      comm=comm, shards=4, rng=2, progress=False)  # fmt: skip
        run.fit(X, Y, epochs=1, batch_size=44)
        run.save(path)
        return optimizer.state_dict()["state_key"]

    key = work(None, tmp_path / "alone")
    assert ranks.run(3, lambda comm: work(comm, tmp_path / "three")) == [key] * 3
    assert (tmp_path / "three").read_bytes() == (tmp_path / "alone").read_bytes()


def test_callbacks_are_told_on_every_rank_unless_they_say_otherwise():
    class Told(Callback):
        def __init__(self):
            self.epochs = []

        def on_epoch_end(self, epoch, logs=None):
            self.epochs.append(epoch)

    class Once(Told):
        first_rank_only = True

    def told(comm):
        callbacks = [Told(), Once()]
        train(comm, callbacks=callbacks)
        return [one.epochs for one in callbacks]

    assert ranks.run(2, told) == [[[0, 1], [0, 1]], [[0, 1], []]]


class Pruned(Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise RuntimeError("pruned")


@pytest.mark.parametrize("state_dtype", [None, "int8"])
def test_a_run_of_shards_that_a_callback_ends_leaves_the_optimizer_whole(state_dtype):
    optimizer = fastreg.Adam(0.01, state_dtype=state_dtype, rng=1)
    run = Trainer(fitting(network(), optimizer), nn.softmax_cross_entropy, optimizer,
                  shards=4, rng=2, progress=False, callbacks=[Pruned()])  # fmt: skip
    with pytest.raises(RuntimeError, match="pruned"):
        run.fit(X, Y, epochs=1, batch_size=44)
    assert optimizer.m["0.W"].shape == run.model.params["0.W"].shape
    optimizer.update(run.model.params, {k: np.ones_like(p) for k, p in run.model.params.items()})


class Averages(Callback):
    """Looks at the parameters' averages after an epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.trainer.optimizer.swap_ema()
        self.seen = {name: array.copy() for name, array in self.trainer.model.params.items()}
        self.trainer.optimizer.swap_ema()


class NoAverages(Callback):
    """Is refused them, by ranks and where parameters are given."""

    def on_epoch_end(self, epoch, logs=None):
        size = self.trainer._team.comm.size
        for params in (self.trainer.model.params, *[None] * (size > 1)):
            with pytest.raises(RuntimeError, match="swap_ema: the state is shared out among ranks"):
                self.trainer.optimizer.swap_ema(params)


def test_averages_are_seen_by_one_process_and_refused_by_several_ranks():
    plain, cut = Averages(), Averages()
    for callback, shards in ((plain, None), (cut, 4)):
        train(shards=shards, optimizer="clipped", callbacks=[callback], epochs=1)
    for name, array in plain.seen.items():
        np.testing.assert_allclose(array, cut.seen[name], atol=0.02)
    own = {"optimizer": "clipped", "callbacks": [NoAverages()], "epochs": 1}
    train(shards=4, **own)
    ranks.run(2, lambda comm: train(comm, **own))


def test_a_communicator_alone_means_four_shards():
    four, usual = train(shards=4), ranks.run(2, lambda comm: train(comm, shards=None))[0]
    for key, array in four.model.arrays.items():
        np.testing.assert_array_equal(usual.model.arrays[key], array)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_run_is_that_of_whole_batches_up_to_rounding(optimizer):
    """Batch norm sees the whole batch, and dropout draws by the row in it."""
    plain, cut = train(shards=None, optimizer=optimizer), train(optimizer=optimizer)
    for key, array in plain.model.arrays.items():
        if optimizer == "SGD":
            assert np.allclose(array, cut.model.arrays[key], rtol=1e-3, atol=1e-5), key
    assert np.allclose(plain.history["loss"], cut.history["loss"], rtol=1e-3)
    assert np.allclose(plain.history["gradient_norm"], cut.history["gradient_norm"], rtol=0.02)


def others():
    gen = np.random.default_rng(1)
    layers = [Dense(60, 33, rng=gen), fastreg.AlphaDropout(0.1, rng=4), nn.Tanh()]
    layers += [fastreg.Dropout(0.2, rng=7, noise_shape=(None, 1)), fastreg.BatchNorm(33)]
    return Sequential([*layers, Dense(33, 3, rng=gen)])


weights = rng.uniform(0.0, 2.0, 150).astype(np.float32)
weights[:40] = 0.0
WAYS = {
    "accumulate": lambda: ({}, {"accumulate": 2}),
    "penalties": lambda: ({"penalties": [fastreg.ElasticNet(1e-3, 1e-3)]}, {}),
    "metrics": lambda: ({"metrics": ["f1"], "monitor": "val_f1"}, {}),
    "weights": lambda: ({}, {"sample_weight": np.where(weights < 1.7, 0, weights)}),
    "shards without weight": lambda: ({}, {"sample_weight": weights}),
    "small batches": lambda: ({}, {"batch_size": 3, "accumulate": 5}),
    "early stopping": lambda: (
        {"early_stopping": fastreg.EarlyStopping(1, restore_best=True)}, {"epochs": 8}),
    "plateau": lambda: ({"schedule": fastreg.ReduceOnPlateau(0.1, patience=1)}, {"epochs": 5}),
    "other dropouts": lambda: ({"model": others()}, {}),
    "no masters": lambda: ({"optimizer": {"master": True}}, {}),
    "skipped": lambda: ({"optimizer": {"on_nonfinite": "skip"}}, {}),
}  # fmt: skip


@pytest.mark.parametrize("state_dtype", [None, "int8"])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_train_has_the_bits_of_one_rank(way, state_dtype, tmp_path):
    def work(comm, path):
        given, fit = WAYS[way]()
        own = {"comm": comm, "shards": 4, "rng": 2, "progress": False, **given}
        adam = partial(fastreg.Adam, state_dtype=state_dtype, rng=3 if state_dtype else None)
        model, optimizer = own.pop("model", None), partial(adam, **own.pop("optimizer", {}))(0.01)
        run = Trainer(fitting(model or network(), optimizer), nn.softmax_cross_entropy,
                      optimizer, **own)  # fmt: skip
        run.fit(X, Y, X_val=X[:40], y_val=Y[:40], **{"epochs": 2, "batch_size": 44, **fit})
        run.save(path)

    work(None, tmp_path / "alone")
    for size in (2, 3):
        ranks.run(size, lambda comm, size=size: work(comm, tmp_path / str(size)))
        assert (tmp_path / str(size)).read_bytes() == (tmp_path / "alone").read_bytes()


@pytest.mark.parametrize("optimizer", ["AdamW", *NARROW])
def test_a_file_goes_on_with_another_number_of_ranks(optimizer, tmp_path):
    own = partial(train, optimizer=optimizer)
    own(path=tmp_path / "whole", epochs=3)
    ranks.run(3, lambda comm: own(comm, callbacks=[Checkpoint(tmp_path / "some")], epochs=2))
    ranks.run(
        2,
        lambda comm: own(comm, tmp_path / "rest", epochs=3, resume_from=tmp_path / "some"),
    )
    assert (tmp_path / "rest").read_bytes() == (tmp_path / "whole").read_bytes()


def test_ranks_send_little_more_than_they_must():
    class Count(fastreg.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.sent = self.trainer._team.exchange.sent

    def work(comm):
        count = Count()
        run = train(comm, epochs=1, callbacks=[count])
        return count.sent, run

    found = ranks.run(4, work)
    run = found[0][1]
    sizes = {name: array.nbytes for name, array in run.model.params.items()}
    least = 2 * 3 * sum(sizes.values())  # of all four ranks together
    elsewhere = 3 * (sizes["1.gamma"] + sizes["1.beta"])  # came with the statistics' sums
    assert sum(sent for sent, _ in found) == run.step * (least - elsewhere)


def test_ranks_with_other_data_or_settings_are_told():
    def work(comm):
        run = trainer(comm=comm, optimizer="AdamW")
        run.fit(X, Y, epochs=1, batch_size=44 + comm.rank)

    with pytest.raises(ValueError, match="all ranks must be given the same data, got on rank 1"):
        ranks.run(2, work)

    def other(comm):
        run = trainer(comm=comm, optimizer="AdamW")
        run.optimizer.lr *= 1 + comm.rank
        run.fit(X, Y, epochs=1, batch_size=44)

    with pytest.raises(ValueError, match="same optimizer, got on rank 1 .*learning_rate 0.02"):
        ranks.run(2, other)


def test_a_file_of_the_history_is_written_by_the_first_rank(tmp_path):
    def work(comm):
        log = fastreg.callbacks.CSVLogger(tmp_path / f"{comm.rank}.csv")
        train(comm, callbacks=[log])

    ranks.run(2, work)
    assert [path.name for path in tmp_path.iterdir()] == ["0.csv"]


def test_what_cannot_be_is_refused_by_name():
    with pytest.raises(TypeError, match="comm must be a communicator"):
        trainer(comm=3)
    with pytest.raises(ValueError, match="shards must be at least the 3 ranks"):
        ranks.run(3, lambda comm: trainer(comm=comm, shards=2))


WRONG = {
    "float64": ("bfloat16", TypeError, r"params\['1.gamma'\] must be float32 where state_dtype"),
    "Fortran": ("int8", ValueError, r"params\['0.W'\] must be contiguous in C order where"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("size", [1, 3])
def test_parameters_that_the_optimizer_refuses_are_refused_on_all_ranks(wrong, size):
    optimizer, kind, message = WRONG[wrong]
    runs = []

    def work(comm):
        run = trainer(optimizer, comm=comm)
        if wrong == "float64":
            run.model.layers[1].gamma = np.ones(300)
        else:
            run.model.layers[0].W = np.asfortranarray(run.model.layers[0].W)
        before = run.model.state_dict()
        with pytest.raises(kind, match=message):
            run.fit(X, Y, epochs=1)
        for key, array in run.model.state_dict().items():
            assert np.array_equal(array, before[key])
        assert run.optimizer.t == 0
        runs.append(run)

    ranks.run(size, work)
    assert len(runs) == size


def test_a_rank_that_fails_ends_all_with_one_message(capsys):
    class Fail(fastreg.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.trainer._team.comm.rank == 1 and self.trainer.step == 3:
                raise RuntimeError("no more")

    with pytest.raises((RuntimeError, ranks.AbortedError)):
        ranks.run(2, lambda comm: train(comm, callbacks=[Fail()]))
    assert (
        "rank 1 of 2 failed in step 3 and ends the job: RuntimeError: no more"
        in capsys.readouterr().err
    )


def test_one_rank_that_is_told_to_stop_stops_all_after_that_step():
    class Stop(fastreg.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.trainer._team.comm.rank == 1 and self.trainer.step == 3:
                self.trainer.stop_training = True

    runs = ranks.run(2, lambda comm: train(comm, callbacks=[Stop()]))
    assert [run.step for run in runs] == [3, 3]


@pytest.mark.parametrize("optimizer", ["AdamW", "int8"])
def test_a_callback_that_loads_a_file_inside_fit_does_so_on_all_ranks(optimizer, tmp_path):
    class Back(fastreg.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.trainer.step == 6:
                self.trainer.load(tmp_path / "some")
                self.trainer.stop_training = True

    def work(comm, path):
        run = train(comm, path, callbacks=[Back()], epochs=2, optimizer=optimizer)
        return {key: value for key, value in run.optimizer.state_dict().items()}

    train(path=tmp_path / "some", epochs=1, optimizer=optimizer)
    work(None, tmp_path / "alone")
    for size in (1, 3):
        path = tmp_path / str(size)
        ranks.run(size, lambda comm, path=path: work(comm, path))
        assert path.read_bytes() == (tmp_path / "alone").read_bytes()


def test_one_rank_that_refuses_its_arguments_ends_the_fit_of_all():
    errors = {}

    def work(comm):
        try:
            trainer(comm=comm).fit(X, Y[: 150 - comm.rank], epochs=1)
        except ValueError as error:
            errors[comm.rank] = str(error)

    ranks.run(2, work)
    assert "one row per sample" in errors[1]
    assert errors[0] == f"Trainer.fit: rank 1 refuses its arguments: ValueError: {errors[1]}"
