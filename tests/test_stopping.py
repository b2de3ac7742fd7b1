"""Early stopping against a ten-line oracle over every short tape."""

import itertools
import json
import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreg.stopping import EarlyStopping, Replay

DELTA = 0.0001
NAN, INF = math.nan, math.inf


def oracle(losses, patience):
    """Stop epoch, best loss, best epoch and counter, by the chapter's rule."""
    best, best_epoch, counter = INF, None, 0
    for epoch, loss in enumerate(losses):
        if loss < best - DELTA:
            best, best_epoch, counter = loss, epoch, 0
        else:
            counter += 1
            if counter >= patience:
                return epoch, best, best_epoch, counter
    return None, best, best_epoch, counter


def tape(symbols):
    """Losses with the meaning of ``symbols`` relative to the best so far."""
    losses, best = [], 1.0
    for symbol in symbols:
        loss = {
            "better": best - 0.01,
            "within": best - DELTA / 2,
            "equal": best,
            "worse": best + 0.5,
            "nan": NAN,
            "inf": INF,
        }[symbol]
        if loss < best - DELTA or (math.isfinite(loss) and not any(map(math.isfinite, losses))):
            best = loss
        losses.append(loss)
    return losses


def test_every_tape_against_the_oracle():
    symbols = ("better", "within", "equal", "worse", "nan", "inf")
    ends, epochs = set(), int(os.environ.get("FASTREG_TEST_EPOCHS", "6"))
    for word in itertools.product(symbols, repeat=epochs):
        losses = tape(word)
        for patience in range(5):
            stopping = EarlyStopping(patience, restore_best=False)
            stop = next((epoch for epoch, loss in enumerate(losses) if stopping(loss)), None)
            result = stop, stopping.best_loss, stopping.best_epoch, stopping.counter
            assert result == oracle(losses, patience), (word, patience)
            ends.add(stop)
    assert ends == {None, *range(epochs)}


losses_ = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.30005, 0.5, NAN, INF, -INF]), max_size=12)
settings_ = st.fixed_dictionaries(
    {
        "patience": st.integers(0, 5),
        "min_delta": st.sampled_from([0.0, DELTA, 0.15]),
        "mode": st.sampled_from(["min", "max"]),
        "min_delta_mode": st.sampled_from(["abs", "rel"]),
        "start_from_epoch": st.integers(0, 4),
        "baseline": st.sampled_from([None, 0.25]),
        "stopping_threshold": st.sampled_from([None, 0.15]),
        "divergence_threshold": st.sampled_from([None, 0.4]),
        "check_finite": st.booleans(),
        "cooldown": st.integers(0, 2),
    }
)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(losses_, settings_)
def test_replay_says_what_a_live_run_does(losses, options):
    (replay,) = EarlyStopping.replay(losses, **options)
    live = EarlyStopping(**options)
    stop = next((epoch for epoch, loss in enumerate(losses) if live(loss)), None)
    assert replay == Replay(
        options["patience"],
        stop,
        len(losses) if stop is None else stop + 1,
        live.best_epoch,
        live.best_loss,
        live.stop_reason,
    )


@settings(derandomize=True, max_examples=150, deadline=None)
@given(losses_, settings_, st.integers(0, 12))
def test_a_run_split_by_a_json_round_trip_equals_the_whole(losses, options, cut):
    whole, first, second = (EarlyStopping(**options) for _ in range(3))
    weights = np.zeros(2)
    for epoch, loss in enumerate(losses):
        whole(loss, weights + epoch)
    for epoch, loss in enumerate(losses[:cut]):
        first(loss, weights + epoch)
    state = first.state_dict()
    arrays = state.pop("best_weights")
    state = json.loads(json.dumps(state, allow_nan=False))
    second.load_state_dict({**state, "best_weights": arrays})
    for epoch, loss in enumerate(losses[cut:], start=cut):
        second(loss, weights + epoch)
    np.testing.assert_equal(second.state_dict(), whole.state_dict())


@settings(derandomize=True, max_examples=100, deadline=None)
@given(losses_, settings_)
def test_maximising_mirrors_minimising(losses, options):
    mirrored = {
        name: -value
        if name in ("baseline", "stopping_threshold", "divergence_threshold")
        else value
        for name, value in options.items()
        if value is not None
    }
    mirrored["mode"] = "max" if options["mode"] == "min" else "min"
    one, other = EarlyStopping(**options), EarlyStopping(**mirrored)
    for loss in losses:
        assert one(loss) == other(-loss)
        assert (one.best_loss, one.counter) == (-other.best_loss, other.counter)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(losses_, settings_)
def test_an_epoch_that_improves_never_runs_out_of_patience(losses, options):
    stopping = EarlyStopping(**options)
    for loss in losses:
        before = stopping.best_loss
        stopping(loss)
        assert stopping.best_loss == before or stopping.stop_reason != "patience"


# --- each option --------------------------------------------------------------------------


def run(losses, **options):
    stopping = EarlyStopping(**options)
    stop = next((epoch for epoch, loss in enumerate(losses) if stopping(loss)), None)
    return stop, stopping.stop_reason, stopping.best_loss


def test_defaults_are_the_chapters():
    stopping = EarlyStopping()
    assert (stopping.patience, stopping.min_delta, stopping.restore_best) == (10, 0.0001, True)
    assert (stopping.best_loss, stopping.counter, stopping.best_weights) == (INF, 0, None)
    assert run([0.5] * 20) == (10, "patience", 0.5)


def test_options_one_by_one():
    assert run([3.0, 9.0, 2.0, 2.5, 2.5], patience=2, start_from_epoch=2) == (4, "patience", 2.0)
    assert run([100.0, 91.0, 80.0, 75.0], patience=1, min_delta=0.1, min_delta_mode="rel") == (
        1,
        "patience",
        100.0,
    )
    assert run([0.9, 0.8, 0.7], patience=2, baseline=0.5) == (None, None, 0.7)
    assert run([0.9, 0.8, 0.7, 0.7], patience=2, baseline=0.5) == (3, "patience", 0.7)
    assert run([0.9, 0.9], patience=2, baseline=0.5) == (1, "patience", 0.9)
    assert run([0.9, 0.4, 0.3], patience=2, baseline=0.5) == (None, None, 0.3)
    assert run([0.9, 0.1, 0.05], stopping_threshold=0.2) == (1, "stopping_threshold", 0.1)
    assert run([0.9, 0.2, 0.1], stopping_threshold=0.2) == (2, "stopping_threshold", 0.1)
    assert run([0.9, -INF], stopping_threshold=0.2) == (None, None, 0.9)
    assert run([0.9, 5.0, 5.1], divergence_threshold=5.0) == (2, "divergence_threshold", 0.9)
    assert run([0.9, INF], divergence_threshold=5.0) == (1, "divergence_threshold", 0.9)
    assert run([9.0, 8.0], divergence_threshold=5.0, start_from_epoch=1)[0] == 1
    assert run([0.9, NAN], check_finite=True) == (1, "check_finite", 0.9)
    assert run([NAN], check_finite=True, start_from_epoch=5) == (0, "check_finite", INF)
    assert run([-INF] * 3, patience=3) == (2, "patience", INF)
    assert run([0.5] * 9, patience=2, cooldown=3) == (5, "patience", 0.5)
    assert run([0.1, 0.2, 0.15, 0.1], mode="max", patience=2) == (3, "patience", 0.2)


def test_cool_down_on_request_pauses_the_count():
    stopping = EarlyStopping(patience=2, cooldown=3)
    assert not any(stopping(loss) for loss in [0.5, 0.6, 0.6, 0.6, 0.6])
    assert stopping.counter == 1
    stopping.cool_down()
    assert [stopping(0.6) for _ in range(4)] == [False, False, False, True]


def test_it_prints_once_on_stopping_unless_told_not_to(capsys):
    run([1.0, 1.0], patience=1, verbose=False)
    EarlyStopping.replay([1.0, 1.0], patience=1)
    EarlyStopping.replay([1.0, 1.0], patience=1, verbose=True)
    run([1.0, 0.5], patience=1)
    assert capsys.readouterr().out == ""
    run([1.0, 1.0], patience=1)
    sentence = "Early stopping triggered after 1 epochs without improvement\n"
    assert capsys.readouterr().out == sentence
    run([1.0, NAN], check_finite=True)
    assert capsys.readouterr().out == (
        "Early stopping triggered by check_finite at epoch 1; best loss 1 at epoch 0\n"
    )


def test_replay_compares_patiences():
    losses = [1.0, 0.5, 0.6, 0.6, 0.6, 0.4, 0.6, 0.6, 0.6, 0.6, 0.6]
    runs = EarlyStopping.replay(iter(losses), patience=[2, 4, 20])
    assert [r.stop_epoch for r in runs] == [3, 9, None]
    assert [r.epochs_run for r in runs] == [4, 10, 11]
    assert [r.best_loss for r in runs] == [0.5, 0.4, 0.4]
    assert [r.patience for r in EarlyStopping.replay(losses)] == [5, 10, 20]
    assert EarlyStopping.replay([], patience=3) == [Replay(3, None, 0, None, INF, None)]
    assert EarlyStopping.replay(losses, 4)[0] == runs[1]
    assert EarlyStopping.replay(losses, 4, restore_best=True)[0] == runs[1]
    for bad in (0.5, ["a"], [[1.0]]):
        with pytest.raises(TypeError, match=r"EarlyStopping.replay: val_losses must be"):
            EarlyStopping.replay(bad)


# --- bad input ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    [
        "0.1",
        bytearray(b"1"),
        np.array("1"),
        None,
        True,
        np.True_,
        np.array(True),
        [1.0],
        1j,
        10**400,
    ],
)
def test_a_loss_that_is_no_number_changes_nothing(loss):
    stopping = EarlyStopping()
    stopping(0.5)
    before = stopping.state_dict()
    with pytest.raises(TypeError, match="EarlyStopping: val_loss must be a number"):
        stopping(loss)
    assert stopping.state_dict() == before


def test_losses_may_be_any_real_scalar():
    stopping = EarlyStopping()
    assert not any(stopping(loss) for loss in (1, np.float32(0.5), np.array(0.25), np.int8(0)))
    assert stopping.history == [1.0, 0.5, 0.25, 0.0]


@pytest.mark.parametrize(
    ("options", "error", "argument"),
    [
        ({"patience": -1}, ValueError, "patience"),
        ({"patience": 2.5}, TypeError, "patience"),
        ({"patience": True}, TypeError, "patience"),
        ({"min_delta": -0.1}, ValueError, "min_delta"),
        ({"min_delta": NAN}, ValueError, "min_delta"),
        ({"restore_best": 1}, TypeError, "restore_best"),
        ({"mode": "auto"}, ValueError, "mode"),
        ({"mode": None}, TypeError, "mode"),
        ({"min_delta_mode": "absolute"}, ValueError, "min_delta_mode"),
        ({"start_from_epoch": -1}, ValueError, "start_from_epoch"),
        ({"baseline": NAN}, ValueError, "baseline"),
        ({"stopping_threshold": "0"}, TypeError, "stopping_threshold"),
        ({"divergence_threshold": INF}, ValueError, "divergence_threshold"),
        ({"check_finite": None}, TypeError, "check_finite"),
        ({"cooldown": -1}, ValueError, "cooldown"),
        ({"verbose": "yes"}, TypeError, "verbose"),
    ],
)
def test_errors_name_the_argument(options, error, argument):
    with pytest.raises(error, match=f"EarlyStopping: {argument} must be"):
        EarlyStopping(**options)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"counter": -1}, ValueError, "counter"),
        ({"counter": 1.0}, TypeError, "counter"),
        ({"best_loss": None}, TypeError, "best_loss"),
        ({"best_loss": NAN}, ValueError, "best_loss"),
        ({"best_loss": "nan"}, ValueError, "best_loss"),
        ({"best_epoch": 3}, ValueError, "best_epoch"),
        ({"history": 1.0}, TypeError, "history"),
        ({"history": [0.1, "x", 0.2]}, TypeError, "history"),
        ({"stop_reason": "bored"}, ValueError, "stop_reason"),
        ({"stop_reason": ""}, ValueError, "stop_reason"),
        ({"stop_reason": 0}, TypeError, "stop_reason"),
        ({7: 1}, ValueError, "state must have"),
        ({"unknown": 1}, ValueError, "state must have"),
    ],
)
def test_a_bad_state_changes_nothing(change, error, words):
    stopping = EarlyStopping()
    for loss in (0.5, 0.4, 0.6):
        stopping(loss, np.zeros(2))
    good = stopping.state_dict()
    with pytest.raises(error, match=f"load_state_dict: .*{words}"):
        stopping.load_state_dict({**good, "counter": 5, **change})
    missing = {name: value for name, value in good.items() if name != "counter"}
    with pytest.raises(ValueError, match="state must have"):
        stopping.load_state_dict(missing)
    with pytest.raises(TypeError, match="state must be a dict"):
        stopping.load_state_dict([])
    np.testing.assert_equal(stopping.state_dict(), good)


def test_states_share_no_memory_with_the_object():
    stopping = EarlyStopping()
    stopping(0.5, [np.zeros(2)])
    state = stopping.state_dict()
    other = EarlyStopping()
    other.load_state_dict(state)
    state["best_weights"][0] += 1.0
    state["history"].append(9.0)
    for one in (stopping, other):
        assert one.best_weights[0].tolist() == [0.0, 0.0]
        assert one.history == [0.5]
