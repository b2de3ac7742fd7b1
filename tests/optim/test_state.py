"""State as a dictionary: bit-exact resumption, refusals, moments."""

import copy
import json
import pickle
import threading

import harness
import numpy as np
import pytest
from harness import same_states, step

import fastreg
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
def test_state_that_has_a_name_is_that_of_the_dictionary(rule, rng):
    optimizer, params = trained(rule, rng, {})
    state, found = optimizer.state_dict(), 0
    for name in optimizer._slots:
        if hasattr(type(optimizer), name):
            for key, entry in getattr(optimizer, name).items():
                np.testing.assert_array_equal(entry, state[f"{key}.{name}"])
                found += 1
    assert found == len(params) * len(set(optimizer._slots) & set(dir(type(optimizer))))


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
        (lambda s: s.update(l1_mode=np.array(["prox"] * 2)), ValueError, "'l1_mode'"),
        (lambda s: s.update(compat=np.zeros(2)), ValueError, "'compat'"),
        (lambda s: s.update(optimizer=np.array(["Adam", "Adam"])), ValueError, "'optimizer'"),
        (lambda s: s.update(rule=np.zeros(2)), ValueError, "'rule'"),
        (lambda s: s.update(groups=np.zeros(2)), ValueError, "'groups'"),
        (lambda s: s.update(exclude=[["*.b"]]), ValueError, "'exclude'"),
        (lambda s: s.update(clip_norm=np.ones(1)), ValueError, "'clip_norm'"),
        (lambda s: s.update({"hyper.beta1": None}), TypeError, "hyper.beta1"),
        (lambda s: s.update({"hyper.beta1": "function"}), ValueError, "hyper.beta1"),
        (lambda s: s.update({"hyper.learning_rate": None}), TypeError, "hyper.learning_rate"),
        (lambda s: s.update({"hyper.epsilon": np.ones(2)}), TypeError, "hyper.epsilon"),
        (lambda s: s.update(names=["a", "b", "b"]), ValueError, r"'names'\] must differ"),
        (lambda s: s.update(names=["a", "b", "c", 0, "0"]), ValueError, r"'names'\] must differ"),
        (lambda s: s.update(steps=[1, 2]), ValueError, r"'steps'\] must be a list"),
        (lambda s: s.update(steps=[1, 2, 4]), ValueError, r"'steps'\] must be from 0 to 3"),
        (lambda s: s.update(steps=[1, 2, None]), TypeError, "'steps'"),
        (lambda s: s.update(steps=np.ones(3, int)), ValueError, "'steps'"),
        (lambda s: s.update(memory=[1.0, 1.0, 2.0]), ValueError, "'memory'"),
        (lambda s: s.update(start=4), ValueError, "'start'"),
        (lambda s: s.update(swapped=1), TypeError, r"'swapped'\] must be True or False"),
        (lambda s: s.update(swapped=True), ValueError, r"'swapped'\] must be False without"),
        (lambda s: s.update({"c.v": np.ma.zeros(())}), TypeError, "'c.v'"),
        (lambda s: s.update({"c.v": np.zeros((), ">f8")}), TypeError, "'c.v'"),
    ],
)
def test_a_bad_state_is_refused_whole(change, error, message, rng):
    optimizer, _ = trained("Adam", rng, {})
    before, state = optimizer.state_dict(), optimizer.state_dict()
    change(state)
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(state)
    for none in ([], None, 1.0):
        with pytest.raises(TypeError, match="Adam.load_state_dict: state must be a dict"):
            optimizer.load_state_dict(none)
    same_states(optimizer.state_dict(), before)


def test_an_unclipped_state_removes_the_clip():
    clipped = SGD(0.1, clip_value=0.5)
    clipped.load_state_dict(SGD(0.1).state_dict())
    np.testing.assert_allclose(step(clipped, [0.0], [10.0]), [-1.0])


# --- what must be the same, and what is taken over ---------------------------------------------


def rate(step):
    return 0.1


#: (class, options, other options, what the refusal names)
DIFFERENT = [
    ("Adam", {}, {"learning_rate": rate}, "hyper.learning_rate.*must be a schedule"),
    ("Adam", {"learning_rate": rate}, {}, "hyper.learning_rate.*must be a number"),
    ("Adam", {"weight_decay": rate}, {}, "hyper.weight_decay"),
    ("Adam", {"clip_norm": 1.0}, {}, "'clip_norm'.*None, got 1.0"),
    ("Adam", {"clip_norm": 1.0}, {"clip_norm": 2.0}, "'clip_norm'"),
    ("Adam", {"ema_decay": 0.5}, {"ema_decay": 0.9}, "'ema_decay'"),
    ("Adam", {"ema_decay": 0.5}, {}, "'ema_decay'"),
    ("Adam", {"exclude": ["*.b"]}, {}, "'exclude'"),
    ("Adam", {"exclude": ["*.b"]}, {"exclude": ["*.c"]}, "'exclude'"),
    ("Adam", {"exclude": str.isupper}, {"exclude": ["*.c"]}, "'exclude'"),
    ("Adam", {"groups": {"a": {"beta1": 0.5}}}, {}, "'groups'"),
    ("Adam", {"groups": {"a": {"beta1": 0.5}}}, {"groups": {"a": {"beta1": 0.6}}}, "'groups'"),
    ("Adam", {"groups": {"a": {"beta1": 0.5}}}, {"groups": {"b": {"beta1": 0.5}}}, "'groups'"),
    ("Adam", {"groups": {"a": {"learning_rate": rate}}},
     {"groups": {"a": {"learning_rate": 0.1}}}, "'groups'"),
    ("Adam", {"groups": {"a": {}, "*": {}}}, {"groups": {"*": {}, "a": {}}}, "'groups'"),
    ("Adam", {"on_nonfinite": "skip"}, {}, "'on_nonfinite'"),
    ("Adam", {"amsgrad": True}, {}, "'rule'"),
    ("Adam", {"compat": "torch"}, {}, "'compat'"),
    ("Momentum", {"nesterov": True}, {}, "'rule'.* must be 'momentum', got 'nesterov'"),
    ("RMSprop", {"centered": True}, {"momentum": 0.5}, "'rule'"),
    ("AdaGrad", {"initial_accumulator": 0.1}, {}, "'initial_accumulator'"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "one", "other", "message"), DIFFERENT)
def test_what_only_the_constructor_sets_must_be_the_same(rule, one, other, message, rng):
    for mine, theirs in ((one, other), (other, one)):
        source, params = trained(rule, rng, theirs)
        target, params = trained(rule, rng, mine)
        before = target.state_dict()
        with pytest.raises(ValueError, match=rf"{rule}.load_state_dict: state.*"):
            target.load_state_dict(source.state_dict())
        harness.same_states(target.state_dict(), before)
    with pytest.raises(ValueError, match=message):
        trained(rule, rng, other)[0].load_state_dict(trained(rule, rng, one)[0].state_dict())


def test_a_schedule_goes_on_from_the_step_of_the_state(rng):
    def falling(step):
        return 1.0 / (1 + step)

    options = {"learning_rate": falling, "groups": {"b": {"learning_rate": falling}}}
    optimizer, params = trained("Adam", rng, options)
    state = json.loads(json.dumps({
        key: value for key, value in optimizer.state_dict().items()
        if not isinstance(value, np.ndarray)
    }))  # fmt: skip
    assert state["hyper.learning_rate"] == "function"
    resumed = fastreg.Adam(**options)
    resumed.load_state_dict(optimizer.state_dict() | state)
    assert resumed.lr == optimizer.lr == 0.25
    copies = copy.deepcopy(params)
    grads = {"a": np.ones((4, 3)), "b": np.ones(5), "c": 1.0}
    optimizer.update(params, grads)
    resumed.update(copies, grads)
    harness.same_bits(copies["b"], params["b"])


def test_numbers_that_may_be_assigned_are_those_of_the_state(rng):
    optimizer, _ = trained("Adam", rng, {"groups": {"b": {"learning_rate": 0.3}}})
    optimizer.lr, optimizer.beta1, optimizer.weight_decay, optimizer.clip_value = 0.5, 0.6, 0.7, 0.8
    again = fastreg.Adam(groups={"b": {"learning_rate": 0.3}})
    again.load_state_dict(optimizer.state_dict())
    assert (again.lr, again.beta1, again.weight_decay, again.clip_value) == (0.5, 0.6, 0.7, 0.8)
    harness.same_states(again.state_dict(), optimizer.state_dict())


def test_averages_that_are_swapped_in_are_swapped_out_after_loading():
    params, grads = {"w": np.array([4.0]), "s": 4.0}, {"w": np.array([4.0]), "s": 4.0}
    optimizer = SGD(1.0, ema_decay=0.75)
    optimizer.update(params, grads)
    optimizer.swap_ema()
    resumed, copied = SGD(1.0, ema_decay=0.75), pickle.loads(pickle.dumps(optimizer))
    resumed.load_state_dict(optimizer.state_dict())
    for one in (optimizer, resumed, copied):
        values = {"w": params["w"].copy(), "s": params["s"]}
        before = one.state_dict()
        with pytest.raises(RuntimeError, match="SGD.update: .*call swap_ema"):
            one.update(values, grads)
        same_states(one.state_dict(), before)
        assert values == {"w": 3.0, "s": 3.0}
        one.swap_ema(values)
        assert values == {"w": 0.0, "s": 0.0}
        assert (one.ema["w"], one.ema["s"]) == (3.0, 3.0)
        one.update(values, grads)
        assert values == {"w": -4.0, "s": -4.0}
    with pytest.raises(RuntimeError, match="needs ema_decay= and at least one update first"):
        SGD(ema_decay=0.5).swap_ema()


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


class Refusing(dict):
    """Params that take no new number for one name while they are asked not to."""

    refused = None

    def __setitem__(self, name, value):
        if name == self.refused:
            raise RuntimeError("not this one")
        super().__setitem__(name, value)


@pytest.mark.parametrize("rule", RULES)
def test_a_number_that_cannot_be_replaced_leaves_all_numbers_and_their_state(rule):
    grads = {"a": 0.5, "b": -0.25, "c": 1.0}
    tried, spared = (getattr(optim, rule)(0.1) for _ in "ab")
    params, expected = Refusing(a=1.0, b=2.0, c=3.0), {"a": 1.0, "b": 2.0, "c": 3.0}
    tried.update(params, grads)
    spared.update(expected, grads)
    params.refused = "c"
    with pytest.raises(RuntimeError, match="not this one"):
        tried.update(params, grads)
    assert params == expected
    same_states(tried.state_dict(), spared.state_dict())
    params.refused = None
    for optimizer, values in ((tried, params), (spared, expected)):
        optimizer.update(values, grads)
    assert params == expected
