"""State as a dictionary: bit-exact resumption, refusals, moments."""

import copy
import json
import pickle
import threading

import harness
import numpy as np
import pytest
from harness import same_states, step

from fastreg import SGD, Momentum, optim

RULES = optim.__all__


SERVED = {
    "ema_decay": 0.9,
    "clip_norm": 1.0,
    "weight_decay": 0.1,
    "groups": {"b": {"learning_rate": 0.3}},
}


def trained(rule, rng, options):
    optimizer = getattr(optim, rule)(**options)
    params = {"a": np.asfortranarray(rng.normal(size=(4, 3))), "b": rng.normal(size=5), "c": 0.5}
    for _ in range(3):
        optimizer.update(params, {"a": rng.normal(size=(4, 3)), "b": rng.normal(size=5), "c": 0.1})
    return optimizer, params


@pytest.mark.parametrize("options", [{}, SERVED])
@pytest.mark.parametrize("rule", RULES)
def test_resume_is_bit_exact(rule, options, rng):
    optimizer, params = trained(rule, rng, options)
    optimizer.lr = 0.017
    state = optimizer.state_dict()
    scalars = {k: v for k, v in state.items() if not isinstance(v, np.ndarray)}
    state |= json.loads(json.dumps(scalars))
    resumed = getattr(optim, rule)(**options)
    resumed.load_state_dict(state)
    copies = {name: np.array(p, order="K") if name != "c" else p for name, p in params.items()}
    for _ in range(3):
        grads = {"a": rng.normal(size=(4, 3)), "b": rng.normal(size=5), "c": -0.2}
        optimizer.update(params, grads)
        resumed.update(copies, grads)
    for name in params:
        harness.same_bits(np.asarray(copies[name]), np.asarray(params[name]))
    assert resumed.t == optimizer.t


@pytest.mark.parametrize("rule", RULES)
def test_groups_and_exclusions_survive_pickling(rule, rng):
    optimizer, params = trained(rule, rng, SERVED | {"exclude": ["c"]})
    again = pickle.loads(pickle.dumps(optimizer))
    copies = copy.deepcopy(params)
    for one, values in ((optimizer, params), (again, copies)):
        one.update(values, {"a": np.ones((4, 3)), "b": np.ones(5), "c": 0.5})
    for name in params:
        harness.same_bits(np.asarray(copies[name]), np.asarray(params[name]))


def test_a_state_is_a_copy(rng):
    optimizer, params = trained("Adam", rng, {})
    state = optimizer.state_dict()
    kept = state["a.m"].copy()
    optimizer.update(params, {"a": np.ones((4, 3)), "b": np.ones(5), "c": 1.0})
    np.testing.assert_array_equal(state["a.m"], kept)
    optimizer.load_state_dict(state)
    state["a.m"][:] = 7.0
    np.testing.assert_array_equal(optimizer.m["a"], kept)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: s.pop("a.m"), ValueError, r"lacks \['a.m'\]"),
        (lambda s: s.update(extra=1), ValueError, r"unknown \['extra'\]"),
        (lambda s: s.update(optimizer="SGD"), ValueError, "must be 'Adam', got 'SGD'"),
        (lambda s: s.update(compat="torch"), ValueError, "must be None, got 'torch'"),
        (lambda s: s.update(t=-1), ValueError, "'t'"),
        (lambda s: s.update(t=1.5), TypeError, "'t'"),
        (lambda s: s.update(memory=[]), ValueError, "'memory'"),
        (lambda s: s.update(names="ab"), ValueError, "'names'"),
        (lambda s: s.update({"a.m": [1.0]}), TypeError, "'a.m'"),
        (lambda s: s.update({"a.m": np.ones(2)}), ValueError, "'a' must be alike"),
        (lambda s: s.update({"hyper.epsilon": "x"}), TypeError, "hyper.epsilon"),
        (lambda s: s.update({"hyper.beta1": 5.0}), ValueError, "hyper.beta1"),
        (lambda s: s.update({"hyper.learning_rate": -1.0}), ValueError, "hyper.learning_rate"),
        (lambda s: s.update(skipped=2**70), ValueError, "'skipped'"),
        (lambda s: s.update(names=[["a"]]), ValueError, "'names'"),
        (lambda s: s.update(l1_mode="prox"), ValueError, "must be 'subgradient', got 'prox'"),
    ],
)
def test_a_bad_state_is_refused_whole(change, error, message, rng):
    optimizer, _ = trained("Adam", rng, {})
    before, state = optimizer.state_dict(), optimizer.state_dict()
    change(state)
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(state)
    with pytest.raises(TypeError, match="state must be a dict"):
        optimizer.load_state_dict([])
    same_states(optimizer.state_dict(), before)


def test_an_unclipped_state_removes_the_clip():
    clipped = SGD(0.1, clip_value=0.5)
    clipped.load_state_dict(SGD(0.1).state_dict())
    np.testing.assert_allclose(step(clipped, [0.0], [10.0]), [-1.0])


def test_names_that_read_alike_cannot_be_saved():
    optimizer = Momentum()
    optimizer.update({0: np.ones(1), "0": np.ones(1)}, {0: np.ones(1), "0": np.ones(1)})
    with pytest.raises(ValueError, match="names must differ as text"):
        optimizer.state_dict()


def test_snapshots_are_of_one_moment():
    """A checkpoint taken while another thread trains never mixes two steps."""
    optimizer, stop = Momentum(1.0, momentum=0.0), threading.Event()
    params, grads = {"w": np.zeros(400_000)}, {"w": np.zeros(400_000)}

    def train():
        while not stop.is_set():
            grads["w"] += 1.0
            optimizer.update(params, grads)

    optimizer.update(params, grads)
    worker = threading.Thread(target=train)
    worker.start()
    try:
        for _ in range(10):
            velocity = optimizer.state_dict()["w.v"]
            assert (velocity == velocity[0]).all()
    finally:
        stop.set()
        worker.join()
