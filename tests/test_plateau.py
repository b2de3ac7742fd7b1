"""ReduceOnPlateau against an oracle of its own rule, and its state."""

import itertools
import json
import math

import numpy as np
import pytest

from fastreg.plateau import ReduceOnPlateau


def oracle(losses, patience, cooldown):
    value, best, bad, pause, values = 1.0, math.inf, 0, 0, []
    for loss in losses:
        counted, pause = pause == 0, max(pause - 1, 0)
        if loss < best * (1 - 0.0001) or (math.isinf(best) and math.isfinite(loss)):
            best, bad = loss, 0
        elif counted:
            bad += 1
            if bad >= patience:
                value, bad, pause = max(value * 0.5, 0.2), 0, cooldown
        values.append(value)
    return values


@pytest.mark.parametrize("patience", [0, 1, 2, 3])
@pytest.mark.parametrize("cooldown", [0, 1, 2])
def test_every_tape_of_seven_epochs_against_the_oracle(patience, cooldown):
    seen = set()
    for losses in itertools.product([0.5, 1.0, math.nan], repeat=7):
        rate = ReduceOnPlateau(1.0, factor=0.5, patience=patience, cooldown=cooldown, min_value=0.2)
        values = [rate.update(loss) for loss in losses]
        assert values == oracle(losses, patience, cooldown), losses
        assert rate(0) == rate(10**6) == values[-1]
        seen.add(tuple(values))
    assert len(seen) > 1


def test_improving_epochs_use_the_cooldown_up():
    """Two epochs after the reduction, whatever they bring: the next two without gain count."""
    rate = ReduceOnPlateau(1.0, factor=0.5, patience=2, cooldown=2)
    falling = [4.9 - 0.1 * epoch for epoch in range(10)]
    values = [rate.update(loss) for loss in [5.0, 5.0, 5.0, *falling, 4.0, 4.0, 4.0]]
    assert values[2] == values[-3] == 0.5
    assert values[-2:] == [0.25, 0.25]


def test_relative_is_the_default_and_maximising_works():
    def falls(losses, **options):
        rate = ReduceOnPlateau(1.0, patience=1, **options)
        return [rate.update(loss) for loss in losses][-1] < 1.0

    assert falls([100.0, 99.0], min_delta=0.02)
    assert not falls([100.0, 97.0], min_delta=0.02)
    assert not falls([100.0, 99.0], min_delta=0.02, min_delta_mode="abs")
    assert falls([0.5, 0.5], min_delta=0.0)
    assert falls([0.5, 0.4], mode="max")
    assert not falls([0.4, 0.5], mode="max")


def test_a_run_split_by_a_json_round_trip_equals_the_whole():
    losses = [1.0, math.inf, 0.9, 0.95, 0.95, 0.95, math.nan, 0.95, 0.2, 0.3, 0.3, 0.3]
    options = {"factor": 0.5, "patience": 2, "cooldown": 1}
    whole = ReduceOnPlateau(0.1, **options)
    values = [whole.update(loss) for loss in losses]
    for cut in range(len(losses)):
        first, second = ReduceOnPlateau(0.1, **options), ReduceOnPlateau(0.1, **options)
        head = [first.update(loss) for loss in losses[:cut]]
        second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
        assert head + [second.update(loss) for loss in losses[cut:]] == values
        assert second.state_dict() == whole.state_dict()


@pytest.mark.parametrize(
    ("options", "error", "argument"),
    [
        ({"initial_value": -1.0}, ValueError, "initial_value"),
        ({"factor": 1.0}, ValueError, "factor"),
        ({"factor": 0.0}, ValueError, "factor"),
        ({"patience": -1}, ValueError, "patience"),
        ({"min_delta": math.nan}, ValueError, "min_delta"),
        ({"mode": "auto"}, ValueError, "mode"),
        ({"min_delta_mode": 1}, TypeError, "min_delta_mode"),
        ({"mode": np.array(["min", "max"])}, TypeError, "mode"),
        ({"cooldown": True}, TypeError, "cooldown"),
        ({"min_value": 0.2}, ValueError, "min_value"),
    ],
)
def test_errors_name_the_argument(options, error, argument):
    with pytest.raises(error, match=f"ReduceOnPlateau: {argument} must be"):
        ReduceOnPlateau(**{"initial_value": 0.1, **options})


def test_bad_losses_and_states_change_nothing():
    rate = ReduceOnPlateau(0.1)
    rate.update(0.5)
    good = rate.state_dict()
    for loss in ("1", None, True, 10**400):
        with pytest.raises(TypeError, match="ReduceOnPlateau.update: val_loss"):
            rate.update(loss)
    for change, error in [
        ({"value": -1.0}, ValueError),
        ({"value": True}, TypeError),
        ({"counter": -1}, ValueError),
        ({"best_loss": "low"}, TypeError),
        ({"best_loss": "nan"}, ValueError),
        ({"best_loss": np.zeros(2)}, TypeError),
        ({1: 2}, ValueError),
        ({"more": 1}, ValueError),
    ]:
        with pytest.raises(error, match=r"ReduceOnPlateau\.load_state_dict"):
            rate.load_state_dict({**good, "cooldown_left": 3, **change})
    assert rate.state_dict() == good
