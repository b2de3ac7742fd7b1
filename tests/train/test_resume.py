"""Runs taken up from a checkpoint: bit for bit, or refused."""

import copy
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from runs import Adam, blobs, everything, fit, full_options, network, trainer, weights

import fastreg
from fastreg import checkpoint, schedule
from fastreg.callbacks import Callback, Checkpoint
from fastreg.checkpoint import CheckpointError
from fastreg.nn import mlp
from fastreg.plateau import ReduceOnPlateau
from fastreg.stopping import EarlyStopping


class StopAt(Callback):
    """End training after so many steps, and save there."""

    def __init__(self, step, path):
        self.at, self.path = step, path

    def on_train_batch_end(self, batch, logs=None):
        if self.trainer.step == self.at:
            self.trainer.save(self.path)
            self.trainer.stop_training = True


@pytest.fixture(scope="module")
def whole():
    """A run of 40 steps that nothing has interrupted."""
    run = trainer(**full_options())
    fit(run)
    assert run.step == 40
    return run


@pytest.mark.parametrize("step", range(1, 41))
def test_a_run_taken_up_at_any_step_ends_with_the_same_bits(step, whole, tmp_path):
    path = tmp_path / "run.ckpt"
    first = trainer(**full_options(), callbacks=[StopAt(step, path)])
    fit(first)
    assert (first.step, first.stop_reason) == (step, "callback")
    # Other weights, another seed, another state: all of it must come from the file.
    second = trainer(model=network(seed=9), rng=10, **full_options())
    fit(second, epochs=1)
    fit(second, resume_from=path)
    assert everything(second) == everything(whole)
    assert second.stop_reason is None


def test_a_run_taken_up_by_a_new_process_ends_with_the_same_bits(whole, tmp_path):
    half = trainer(**full_options())
    fit(half, epochs=3)
    half.save(tmp_path / "half.ckpt")
    code = """
        import sys
        sys.path.insert(0, sys.argv[1])
        import runs as t
        run = t.trainer(model=t.network(seed=9), rng=10, **t.full_options())
        t.fit(run, resume_from=sys.argv[2] + "/half.ckpt")
        run.save(sys.argv[2] + "/end.ckpt")
    """
    here = str(__file__).rsplit("/", 1)[0]
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), here, str(tmp_path)], check=True)
    other = trainer(model=network(seed=5), **full_options())
    other.load(tmp_path / "end.ckpt")
    assert everything(other) == everything(whole)


def test_going_on_after_the_end_is_the_longer_run(tmp_path):
    long, short = trainer(), trainer()
    fit(long, epochs=5)
    fit(short, epochs=2)
    short.save(tmp_path / "run.ckpt")
    fit(short, epochs=5, resume_from=tmp_path / "run.ckpt")
    assert everything(short) == everything(long)


def test_two_runs_of_fresh_objects_are_equal():
    one, two = trainer(**full_options()), trainer(**full_options())
    fit(one), fit(two)
    assert everything(one) == everything(two)
    other = trainer(rng=3)
    fit(other)
    assert weights(other.model) != weights(one.model)


def test_the_checkpoint_callback_keeps_the_last_state(tmp_path):
    path = tmp_path / "run.ckpt"
    run = trainer(callbacks=[Checkpoint(path)])
    fit(run)
    loaded = trainer(model=network(seed=4))
    loaded.load(path)
    assert everything(loaded) == everything(run)
    every = trainer(callbacks=[Checkpoint(path, every_steps=7)])
    fit(every)
    loaded.load(path)
    assert loaded.step == 35


def test_a_plateau_schedule_is_part_of_the_state(tmp_path):
    def options():
        return {"schedule": ReduceOnPlateau(0.02, factor=0.5, patience=1, min_delta=1.0)}

    whole, half = trainer(**options()), trainer(**options())
    fit(whole)
    fit(half, epochs=4)
    half.save(tmp_path / "run.ckpt")
    other = trainer(**options())
    fit(other, resume_from=tmp_path / "run.ckpt")
    assert everything(other) == everything(whole)
    assert whole.history["learning_rate"][0] > whole.history["learning_rate"][-1]


def wider():
    return mlp([2, 9, 3], batch_norm=True, dropout=0.3)


MISFITS = {
    "shapes": (lambda: trainer(model=wider()), r"0.W is .*9\)"),
    "layers": (lambda: trainer(model=mlp([2, 8, 3])), "1.gamma is not in the network"),
    "dtype": (lambda: trainer(model=network(dtype=np.float64)), "0.W is float32 .* not float64"),
    "parts": (lambda: trainer(early_stopping=EarlyStopping()), "not of .*EarlyStopping"),
    "optimizer": (
        lambda: trainer(optimizer=type("Other", (Adam,), {})(0.1)), "not of .*Other"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), MISFITS.values(), ids=MISFITS)
def test_a_state_of_another_network_is_refused_with_every_difference(make, message, tmp_path):
    run = trainer()
    fit(run, epochs=1)
    run.save(tmp_path / "run.ckpt")
    other = make()
    X, y = blobs(75)
    other.fit(X, y, epochs=1)
    before = everything(other)
    with pytest.raises(CheckpointError, match=message):
        other.load(tmp_path / "run.ckpt")
    assert everything(other) == before


def test_all_differences_are_listed():
    model, other = network(), mlp([2, 9, 4], batch_norm=True, dropout=0.3)
    with pytest.raises(ValueError, match="load_state_dict") as info:
        model.load_state_dict(other.state_dict())
    for name in ("0.W", "1.gamma", "1.running_var", "4.W", "4.b"):
        assert name in str(info.value)


def test_a_part_that_refuses_its_state_leaves_all_as_it_was(tmp_path):
    path = tmp_path / "run.ckpt"
    run = trainer(**full_options())
    fit(run, epochs=1)
    run.save(path)
    state = checkpoint.load(path)
    state["parts"]["early_stopping"]["counter"] = -1
    checkpoint.save(path, state)
    other = trainer(model=network(seed=9), **full_options())
    fit(other, epochs=1)
    before = everything(other)
    with pytest.raises(CheckpointError, match="counter"):
        other.load(path)
    assert everything(other) == before


def test_a_run_saved_before_its_first_step_begins_on_any_data(whole, tmp_path):
    trainer(**full_options()).save(tmp_path / "run.ckpt")
    other = trainer(model=network(seed=9), rng=10, **full_options())
    fit(other, resume_from=tmp_path / "run.ckpt")
    assert everything(other) == everything(whole)


def test_other_data_is_refused(tmp_path):
    run = trainer()
    fit(run, epochs=1)
    run.save(tmp_path / "run.ckpt")
    with pytest.raises(CheckpointError, match="'rows': 75"):
        run.fit(*blobs(60), epochs=2, batch_size=16, resume_from=tmp_path / "run.ckpt")
    with pytest.raises(CheckpointError, match="cannot go on with"):
        fit(run, batch_size=8, resume_from=tmp_path / "run.ckpt")


def test_an_optimizer_without_a_state_cannot_be_saved(tmp_path):
    run = trainer(optimizer=fastreg.reference.Adam())
    with pytest.raises(TypeError, match="optimizer must have state_dict, got Adam"):
        run.save(tmp_path / "run.ckpt")


def test_a_run_that_early_stopping_ended_stays_ended(tmp_path):
    def options():
        return {"early_stopping": EarlyStopping(patience=2, min_delta=0.5)}

    whole = trainer(**options(), callbacks=[Checkpoint(tmp_path / "run.ckpt")])
    fit(whole, epochs=30)
    assert whole.stop_reason == "patience"
    other = trainer(model=network(seed=9), **options())
    fit(other, epochs=30, resume_from=tmp_path / "run.ckpt")
    assert everything(other) == everything(whole)
    assert other.stop_reason == "patience"


def places(tree, path=()):
    """The paths to all that a tree holds."""
    yield from [path] if path else []
    items = enumerate(tree) if isinstance(tree, list) else ()
    for key, value in tree.items() if isinstance(tree, dict) else items:
        yield from places(value, (*path, key))


def test_whatever_stands_in_a_file_is_refused_or_taken_whole(tmp_path):
    """A sealed file with an array, a list or a huge number in the place of each of its parts."""
    path = tmp_path / "run.ckpt"
    fit(trainer(**full_options(), callbacks=[StopAt(13, path)]))
    good = checkpoint.load(path)
    run = trainer(model=network(seed=9), **full_options())
    fit(run, epochs=1)
    before = everything(run)
    others = [place for place in places(good) if place[0] != "settings"]
    assert len(others) > 60
    for place in others:
        for value in (np.zeros(3), [None], 2**64):
            state = copy.deepcopy(good)
            parent = state
            for key in place[:-1]:
                parent = parent[key]
            parent[place[-1]] = value
            checkpoint.save(path, state)
            try:
                run.load(path)
            except CheckpointError:
                with pytest.raises(CheckpointError):
                    fit(run, resume_from=path)
                assert everything(run) == before, (place, value)
            else:
                run = trainer(model=network(seed=9), **full_options())
                fit(run, epochs=1)


def value(tree, place):
    for key in place:
        tree = tree[key]
    return tree


def changed(tree, place):
    """Copies of a tree in which something is missing, is more or has another length there."""

    def copied(change):
        other = copy.deepcopy(tree)
        parent = other
        for key in place[:-1]:
            parent = parent[key]
        change(parent, place[-1])
        return other

    now = value(tree, place)
    yield copied(lambda parent, key: parent.pop(key))
    if isinstance(now, dict):
        yield copied(lambda parent, key: parent[key].update(more=0.0))
    elif isinstance(now, list):
        yield copied(lambda parent, key: parent[key].append(now[-1] if now else 0))
    elif isinstance(now, np.ndarray):
        longer = np.append(now, now.dtype.type(0))
        yield copied(lambda parent, key: parent.update({key: longer}))
        yield copied(lambda parent, key: parent.update({key: now.ravel()[:-1].copy()}))


def test_whatever_is_missing_from_a_file_or_too_much_is_refused_by_name(tmp_path):
    """Every key of a sealed file in turn left out, or given one more entry, or one less."""
    path = str(tmp_path / "run.ckpt")

    def parts():
        rate = schedule.warmup(ReduceOnPlateau(0.02, patience=1), 3)
        stopping = EarlyStopping(patience=50, verbose=False)
        return {
            "schedule": rate,
            "early_stopping": stopping,
            "optimizer": Adam(0.02, ema_decay=0.9),
        }

    fit(trainer(**parts(), callbacks=[StopAt(13, path)]))
    good = checkpoint.load(path)
    run = trainer(model=network(seed=9), **parts())
    fit(run, epochs=1)
    before, tried = everything(run), 0
    for place in places(good):
        if place[:3] == ("cursor", "cut", "sample") and place != ("cursor", "cut", "sample"):
            continue  # compared with the data when training goes on
        for state in changed(good, place):
            if place == ("cursor", "cut", "sample") and place[-1] in state["cursor"]["cut"]:
                continue
            checkpoint.save(path, state)
            with pytest.raises(CheckpointError) as refusal:
                run.load(path)
            said = str(refusal.value)
            assert said.startswith(path), place
            names = [
                "more",
                *map(str, place),
                str(place[-1]).rpartition(".")[0],
                value(good, place),
            ]
            names += [good["kinds"].get(key) for key in place[1:2]]
            named = [
                name if len(name) > 1 else repr(name) for name in names if isinstance(name, str)
            ]
            assert any(name in said.removeprefix(path) for name in named if name), (place, said)
            assert everything(run) == before, place
            tried += 1
    assert tried > 200
    checkpoint.save(path, good | {"more": 0.0})
    with pytest.raises(CheckpointError, match="lacks .. and has unknown .'more'."):
        run.load(path)
    checkpoint.save(path, good)
    run.load(path)


def test_an_optimizers_state_of_another_network_is_refused_at_once(tmp_path):
    path = tmp_path / "run.ckpt"
    fit(trainer(**full_options(), callbacks=[StopAt(13, path)]))
    good = checkpoint.load(path)
    for change in (lambda array: array[:1].copy(), lambda array: array.astype(np.float64)):
        state = copy.deepcopy(good)
        for slot in "mv":
            key = f"0.W.{slot}"
            state["parts"]["optimizer"][key] = change(state["parts"]["optimizer"][key])
        checkpoint.save(path, state)
        with pytest.raises(CheckpointError, match=r"optimizer\['0.W.m'\] must have shape"):
            trainer(**full_options()).load(path)


def test_a_column_that_a_callback_has_entered_is_kept(tmp_path):
    class Gap(Callback):
        def on_epoch_end(self, epoch, logs=None):
            history = self.trainer.history
            history.setdefault("gap", [])[epoch:] = [logs["val_loss"] - logs["loss"]]

    def made():
        return trainer(callbacks=[Gap()])

    run, other, whole = made(), made(), made()
    fit(run, epochs=2)
    run.save(tmp_path / "run.ckpt")
    fit(other, epochs=4, resume_from=tmp_path / "run.ckpt")
    fit(whole, epochs=4)
    assert other.history["gap"] == whole.history["gap"] and len(whole.history["gap"]) == 4


@pytest.mark.parametrize("value", [0, True, [None], {}, "x", np.zeros(3)], ids=str)
def test_best_weights_of_another_network_are_refused_at_once(value, tmp_path):
    path = tmp_path / "run.ckpt"
    fit(trainer(**full_options(), callbacks=[StopAt(13, path)]))
    state = checkpoint.load(path)
    stopping = state["parts"]["early_stopping"]
    for best in (value, {**stopping["best_weights"], "0.W": value}):
        state["parts"]["early_stopping"] = {**stopping, "best_weights": best}
        checkpoint.save(path, state)
        with pytest.raises(CheckpointError, match="made for another run"):
            trainer(**full_options()).load(path)


@pytest.mark.parametrize("place", [("history", "loss", 0), ("cursor", "so_far", "rows")])
@pytest.mark.parametrize("value", [None, [1.0], {}, True, "1"])
def test_a_history_of_other_things_than_numbers_is_refused(place, value, tmp_path):
    path = tmp_path / "run.ckpt"
    fit(trainer(**full_options(), callbacks=[StopAt(13, path)]))
    state = checkpoint.load(path)
    parent = state
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value
    checkpoint.save(path, state)
    with pytest.raises(CheckpointError, match="must .* numbers"):
        trainer(**full_options()).load(path)


@pytest.mark.parametrize("cursor", [[], 3, None, {"cut": []}])
def test_a_cursor_of_another_kind_is_refused(cursor, tmp_path):
    checkpoint.save(tmp_path / "run.ckpt", {"cursor": cursor})
    with pytest.raises(CheckpointError, match="cannot go on"):
        fit(trainer(), resume_from=tmp_path / "run.ckpt")


@pytest.mark.parametrize("kind", ["SGD", "AdaGrad", "Adadelta", "AdamW", "Adamax", "Lion",
                                  "Momentum", "NAdam", "RAdam", "RMSprop"])  # fmt: skip
def test_every_optimizer_goes_on_with_the_same_bits(kind, tmp_path):
    whole, half, other = (
        trainer(optimizer=getattr(fastreg, kind)(0.01), model=network(seed=seed))
        for seed in (1, 1, 9)
    )
    fit(whole, epochs=3)
    fit(half, epochs=1)
    half.save(tmp_path / "run.ckpt")
    fit(other, epochs=3, resume_from=tmp_path / "run.ckpt")
    assert everything(other) == everything(whole)


def test_the_checkpoint_callback_counts_whole_epochs(tmp_path):
    fit(trainer(callbacks=[Checkpoint(tmp_path / "run.ckpt", every=3)]), epochs=5)
    loaded = trainer()
    loaded.load(tmp_path / "run.ckpt")
    assert loaded.epoch == 3
