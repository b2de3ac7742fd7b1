"""Each parameter's own count of steps: who joins late, is left alone, or begins anew."""

import math

import harness
import numpy as np
import pytest

import fastreg
from fastreg import Adam, NAdam, optim, reference

RULES = optim.__all__


def twins(rule, **options):
    return getattr(optim, rule)(**options), getattr(reference, rule)(**options)


def state_of(optimizer, name):
    """Count, product of momenta and slots of one parameter."""
    state = optimizer.state_dict()
    k = state["names"].index(name)
    slots = {key: value for key, value in state.items() if key.startswith(f"{name}.")}
    return state["steps"][k], state["memory"][k], slots


@pytest.mark.parametrize("compat", [None, "torch"])
@pytest.mark.parametrize("rule", RULES)
def test_a_late_parameter_steps_as_a_first_one_does(rule, compat):
    if compat and not harness.in_a_library(rule, compat):
        return
    late, fresh = (getattr(optim, rule)(0.01, compat=compat) for _ in range(2))
    values = {name: np.ones(1) for name in "abc"}
    grad = np.ones(1)
    for _ in range(300):
        late.update({"a": values["a"]}, {"a": grad})
    for _ in range(5):
        late.update({"a": values["a"], "b": values["b"]}, {"a": grad, "b": grad})
        fresh.update({"c": values["c"]}, {"c": grad})
    harness.same_bits(values["b"], values["c"])
    assert (late.t, fresh.t) == (305, 5)


@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0, "ema_decay": 0.9}])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("listed", [False, True], ids=["dict", "list"])
def test_any_pattern_of_none_has_the_reference_s_bits(rule, options, listed, fixed_rng):
    groups = {"1": {"learning_rate": 0.3}}
    fast, slow = twins(rule, groups=groups, exclude=["2"], weight_decay=0.1, **options)
    shapes = [(3,), (20_000,), (2, 5), ()]
    values = [np.asarray(fixed_rng.normal(size=shape)) for shape in shapes]
    copies = [value.copy() for value in values]
    if not listed:
        values, copies = ({str(k): v for k, v in enumerate(some)} for some in (values, copies))
    for step in range(12):
        grads = [
            None if fixed_rng.random() < 0.4 else np.asarray(fixed_rng.normal(size=s))
            for s in shapes
        ]
        if step == 6:
            grads = [None] * 4
        if not listed:
            grads = {str(k): grad for k, grad in enumerate(grads)}
        fast.update(values, grads)
        slow.update(copies, grads)
    names = values if not listed else range(4)
    for name in names:
        harness.same_bits(values[name], copies[name])
        assert state_of(fast, name)[0] == slow.steps[name]
        for k, known in enumerate(slow.state.values()):
            harness.same_bits(fast._updater.slot(k)[name], np.asarray(known[name]))
        if options:
            harness.same_bits(fast.ema[name], np.asarray(slow.ema[name]))
    assert fast.t == 12


@pytest.mark.parametrize("rule", RULES)
def test_none_leaves_a_parameter_its_state_and_its_count_alone(rule):
    optimizer = getattr(optim, rule)(ema_decay=0.5, weight_decay=0.1, lambda_l1=0.1)
    params = {"a": np.ones(3), "b": np.ones(20_000), "s": 2}
    optimizer.update(params, {"a": np.ones(3), "b": None, "s": None})
    assert type(params["s"]) is int  # its entry is not replaced
    assert optimizer.state_dict()["names"] == ["a"]
    optimizer.update(params, {"a": np.ones(3), "b": np.ones(20_000), "s": 0.5})
    before, kept = {name: state_of(optimizer, name) for name in "bs"}, params["b"].copy()
    scalar = params["s"]
    for _ in range(3):
        optimizer.update(params, {"a": np.ones(3), "b": None, "s": None})
    assert params["s"] is scalar
    harness.same_bits(params["b"], kept)
    for name, (steps, memory, slots) in before.items():
        found = state_of(optimizer, name)
        assert found[:2] == (steps, memory) == (1, found[1])
        harness.same_states(found[2], slots)


def test_none_counts_neither_in_the_norm_nor_among_what_is_not_finite():
    optimizer = fastreg.SGD(1.0, clip_norm=100.0, on_nonfinite="raise")
    params = [np.zeros(2), np.zeros(2)]
    optimizer.update(params, [np.array([3.0, 4.0]), np.full(2, 7.0)])
    optimizer.update(params, [np.array([3.0, 4.0]), None])
    assert optimizer.grad_norm == 5.0
    with pytest.raises(FloatingPointError, match=r"infinity in \[0\]"):
        optimizer.update(params, [np.array([np.nan, 4.0]), None])


def test_parameters_that_have_the_same_steps_share_a_row_again_after_rebinding(rng):
    """Late joiners do not change what the others compute, nor the other way round."""
    together, apart = NAdam(0.1), {name: NAdam(0.1) for name in "abc"}
    params = {name: np.ones(5) for name in "abc"}
    copies = {name: np.ones(5) for name in "abc"}
    for names in ("a", "ab", "a", "abc", "c", "b", "abc"):
        grads = {name: rng.normal(size=5) for name in names}
        together.update({name: params[name] for name in names}, grads)
        for name in names:
            apart[name].update({name: copies[name]}, {name: grads[name]})
    for name in params:
        harness.same_bits(params[name], copies[name])


@pytest.mark.parametrize("rule", RULES)
def test_two_containers_in_turn_and_two_optimizers_at_once(rule, rng):
    fast, slow = twins(rule)
    other, other_slow = twins(rule)
    params, copies = ({"a": np.ones(4), "b": np.ones(3)} for _ in range(2))
    for names in ("a", "b", "ba", "a", "ab"):
        grads = {name: rng.normal(size=params[name].shape) for name in names}
        for optimizer, values in ((fast, params), (slow, copies), (other, params)):
            optimizer.update({name: values[name] for name in names}, grads)
        other_slow.update({name: copies[name] for name in names}, grads)
    for name in params:
        harness.same_bits(params[name], copies[name])


# --- resetting, as the chapter's reader does --------------------------------------------------


@pytest.mark.parametrize("rule", [rule for rule in RULES if getattr(optim, rule)()._slots])
def test_emptied_slots_and_t_0_reset_an_optimizer(rule, rng):
    grads = rng.normal(size=(5, 4))
    fast, slow = twins(rule)
    params, copies = {"w": np.ones(4)}, {"w": np.ones(4)}
    for grad in grads:
        fast.update(params, {"w": grad})
        slow.update(copies, {"w": grad})
    for optimizer in (fast, slow):
        for slot in fast._slots:
            setattr(optimizer, slot, {})
        optimizer.t = 0
    assert fast.t == 0
    assert not getattr(fast, fast._slots[0])
    again, values = getattr(optim, rule)(), {"w": params["w"].copy()}
    for grad in grads:
        fast.update(params, {"w": grad})
        slow.update(copies, {"w": grad})
        again.update(values, {"w": grad})
    harness.same_bits(params["w"], values["w"])
    harness.same_bits(params["w"], copies["w"])


@pytest.mark.parametrize("order", [("t", "m", "v"), ("m", "v", "t"), ("v", "m", "t")])
def test_assigned_means_and_count_go_on_as_the_chapter_s_would(order):
    source, params = Adam(0.1), {"w": np.array([1.0, -2.0]), "s": 0.5}
    for _ in range(7):
        source.update(params, {"w": np.array([0.3, 4.0]), "s": 0.1})
    target = Adam(0.1)
    for name in order:
        value = getattr(source, name)
        setattr(target, name, value if name == "t" else dict(value))
    copies = {"w": params["w"].copy(), "s": params["s"]}
    for optimizer, values in ((source, params), (target, copies)):
        optimizer.update(values, {"w": np.array([-1.0, 2.0]), "s": 0.4})
    harness.same_bits(params["w"], copies["w"])
    assert params["s"] == copies["s"]
    assert target.t == 8


def test_assigned_slots_are_copies_and_checked():
    optimizer, means = Adam(), {"w": np.ones(2)}
    optimizer.m = means
    means["w"][:] = 7.0
    np.testing.assert_array_equal(optimizer.m["w"], 1.0)
    for bad, error in (
        ([], TypeError),
        (None, TypeError),
        ({"w": [1.0]}, TypeError),
        ({"w": np.ones(2, int)}, TypeError),
        ({"w": np.ma.ones(2)}, TypeError),
        ({"w": None}, TypeError),
    ):
        with pytest.raises(error, match=r"Adam: m"):
            optimizer.m = bad
    np.testing.assert_array_equal(optimizer.m["w"], 1.0)
    with pytest.raises(ValueError, match=r"params\['w'\] must keep shape \(2,\)"):
        optimizer.update({"w": np.ones(3)}, {"w": np.ones(3)})
    assert optimizer.t == 0


def test_a_state_after_assigning_one_slot_can_be_loaded():
    optimizer, params = Adam(), {"w": np.ones(2)}
    optimizer.update(params, {"w": np.ones(2)})
    optimizer.v = {}
    again = Adam()
    again.load_state_dict(optimizer.state_dict())
    copies = {"w": params["w"].copy()}
    optimizer.update(params, {"w": np.ones(2)})
    again.update(copies, {"w": np.ones(2)})
    harness.same_bits(params["w"], copies["w"])


def test_all_numbers_of_the_chapter_may_be_assigned():
    optimizer = Adam()
    optimizer.lr, optimizer.beta1, optimizer.beta2, optimizer.epsilon = 0.1, 0.5, 0.75, 0.25
    np.testing.assert_allclose(harness.step(optimizer, [0.0], [1.0]), -0.1 / 1.25)


# --- the end of the counters -------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_a_counter_at_its_end_is_refused_before_anything_is_written(rule):
    optimizer, params = getattr(optim, rule)(), {"w": np.ones(2)}
    optimizer.t = 2**62 - 1
    optimizer.update(params, {"w": np.ones(2)})
    assert np.isfinite(params["w"]).all()
    before = params["w"].copy()
    with pytest.raises(OverflowError, match="count of steps ends"):
        optimizer.update(params, {"w": np.ones(2)})
    harness.same_bits(params["w"], before)
    again = getattr(optim, rule)()
    again.load_state_dict(optimizer.state_dict())
    assert again.t == 2**62
    again.t = 0
    again.update(params, {"w": np.ones(2)})


def test_an_assigned_t_is_saved_before_the_first_step():
    optimizer, again = NAdam(0.1), NAdam(0.1)
    optimizer.t = 1000
    again.load_state_dict(optimizer.state_dict())
    found = [harness.step(one, [1.0], [1.0]) for one in (optimizer, again)]
    harness.same_bits(*found)
    assert not math.isclose(found[0][0], harness.step(NAdam(0.1), [1.0], [1.0])[0])


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.5}, {"ema_decay": 0.9}])
def test_torch_agrees_on_late_gradients_decay_clipping_and_averages(options, fixed_rng):
    torch = pytest.importorskip("torch")
    options = options | {"weight_decay": 0.1}
    names = {"Momentum": "SGD", "AdaGrad": "Adagrad"}
    for rule in RULES:
        if not harness.in_a_library(rule, "torch"):
            continue
        values = [fixed_rng.normal(size=5), fixed_rng.normal(size=(3, 4))]
        theirs = torch.nn.ParameterList([torch.tensor(v) for v in values])
        extra = {"momentum": 0.9} if rule == "Momentum" else {}
        stepper = getattr(torch.optim, names.get(rule, rule))(theirs, weight_decay=0.1, **extra)
        tools = torch.optim.swa_utils
        mean = tools.AveragedModel(theirs, multi_avg_fn=tools.get_ema_multi_avg_fn(0.9))
        optimizer = getattr(optim, rule)(compat="torch", **options)
        for step in range(8):
            grads = [fixed_rng.normal(size=5), fixed_rng.normal(size=(3, 4)) if step > 2 else None]
            for p, g in zip(theirs, grads, strict=True):
                p.grad = None if g is None else torch.tensor(g)
            if "clip_norm" in options:
                torch.nn.utils.clip_grad_norm_(theirs, options["clip_norm"])
            # NAdam keeps its product of momenta in torch's default dtype
            before = torch.get_default_dtype()
            torch.set_default_dtype(torch.float64)
            stepper.step()
            torch.set_default_dtype(before)
            mean.update_parameters(theirs)
            optimizer.update(values, grads)
        for p, v, average in zip(theirs, values, mean.module, strict=True):
            np.testing.assert_allclose(v, p.detach().numpy(), rtol=1e-12, atol=1e-13)
            if "ema_decay" in options and v.ndim == 1:
                np.testing.assert_allclose(optimizer.ema[0], average.detach(), rtol=1e-12)
