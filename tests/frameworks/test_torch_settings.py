"""Settings and state of fastreg.torch's optimizers, changed by hand or loaded: refused before
anything is written, or taken as torch takes them."""

import copy
import math

import pytest

torch = pytest.importorskip("torch")
import fastreg.torch as fast  # noqa: E402
from fastreg.torch import groups, optimizers  # noqa: E402

NUMBERS = [
    (name, key)
    for name in optimizers.__all__
    for key in dict.fromkeys(row[0] for row in groups.FIELDS)
    if key in groups.EXTRAS
    or key in getattr(fast, name)([torch.nn.Parameter(torch.zeros(1))]).defaults
]
KINDS = ["x", None, 1j, {}, [], object(), (0.9,), torch.zeros(2, 2), "0.1"]


def made(name="Adam", steps=2, shape=(3, 4), **kwargs):
    p, q = (torch.nn.Parameter(torch.full(shape, 0.5)) for _ in range(2))
    optimizer = getattr(fast, name)([p, q], **kwargs)
    for _ in range(steps):
        p.grad, q.grad = torch.ones(shape), torch.ones(shape)
        optimizer.step()
    return optimizer, p, q


def picture(optimizer):
    """All that a step writes."""
    state = {p: dict(entries) for p, entries in optimizer.state.items()}
    params = [p for group in optimizer.param_groups for p in group["params"]]
    return copy.deepcopy([[p.detach() for p in params], [p._version for p in params], state])


def assert_equal(a, b):
    for p, q in zip(a[0], b[0], strict=True):
        assert torch.equal(p, q)
    assert a[1] == b[1]
    for mine, theirs in zip(a[2].values(), b[2].values(), strict=True):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[k], theirs[k]) for k in mine)


def assert_refused(optimizer, call, error, words):
    before = picture(optimizer)
    for _ in range(2):
        with pytest.raises(error, match=words):
            call()
    assert_equal(picture(optimizer), before)


def whole(key, value):
    """The entry of a group that has this number in it."""
    return [(value, 0.9), (0.9, value)] if key == "betas" else [value]


@pytest.mark.parametrize(("name", "key"), NUMBERS)
def test_a_setting_of_the_wrong_kind_is_refused(name, key):
    for value in KINDS:
        for entry in [value, *whole(key, value)] if key == "betas" else [value]:
            for steps in (0, 2):
                optimizer, p, _ = made(name, steps)
                p.grad = torch.ones(3, 4)
                optimizer.param_groups[0][key] = entry
                assert_refused(optimizer, optimizer.step, TypeError, f"{name}: {key} of parameter")


@pytest.mark.parametrize(("name", "key"), NUMBERS)
def test_a_setting_out_of_range_is_refused(name, key):
    values = [math.nan, -math.inf]
    if key != "clip_value":
        values.append(math.inf)
    if key != "dampening":
        values.append(-0.5)
    if key in ("betas", "ema_decay"):
        values += [1.0, 1.5]
    for value in values:
        for entry in whole(key, value):
            optimizer, _, _ = made(name)
            optimizer.param_groups[0][key] = entry
            assert_refused(optimizer, optimizer.step, ValueError, f"{name}: {key} of parameter")


@pytest.mark.parametrize(("name", "key"), NUMBERS)
def test_a_setting_that_is_missing_is_refused(name, key):
    optimizer, _, _ = made(name)
    optimizer.param_groups[0].pop(key, None)
    if key in groups.EXTRAS:
        optimizer.step()
    else:
        assert_refused(optimizer, optimizer.step, ValueError, f"{key} .* is missing")


@pytest.mark.parametrize("flag", ["differentiable", "capturable"])
def test_a_mode_set_later_is_refused(flag):
    optimizer, _, _ = made()
    optimizer.param_groups[0][flag] = True
    assert_refused(optimizer, optimizer.step, ValueError, f"{flag} must be False")


def test_other_entries_of_a_group():
    for key, value, error in (
        ("l1_mode", "soft", ValueError),
        ("l1_mode", 3, ValueError),
        ("params", "x", TypeError),
        ("params", [3], TypeError),
        ("params", None, TypeError),
    ):
        optimizer, _, _ = made()
        group = dict(optimizer.param_groups[0])
        optimizer.param_groups[0][key] = value
        with pytest.raises(error, match="Adam.*(l1_mode|param)"):
            optimizer.step()
        optimizer.param_groups[0].clear()
        optimizer.param_groups[0].update(group)
        optimizer.step()
    optimizer, _, _ = made()
    optimizer.param_groups = [3]
    with pytest.raises(TypeError, match="parameter group 0 must be a dict"):
        optimizer.step()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("Adam", {"lr": torch.tensor(0.1)}),
        ("Adam", {"lr": 0.0}),
        ("Adam", {"lr": torch.tensor([0.1])}),
        ("Adam", {"betas": [0.8, 0.9]}),
        ("Adam", {"betas": torch.tensor([0.8, 0.9])}),
        ("Adam", {"lr": 1, "eps": 0, "weight_decay": 1}),
        ("SGD", {"momentum": 1.5, "dampening": -0.5}),
        ("SGD", {"momentum": 0.9, "nesterov": 1}),
        ("RMSprop", {"alpha": 0.5, "maximize": True}),
        ("Adadelta", {"rho": 1.0}),
    ],
)
def test_what_torch_takes_is_taken(name, change):
    ends = []
    for module in (fast, torch.optim):
        p = torch.nn.Parameter(torch.full((3,), 0.5, dtype=torch.float64))
        optimizer = getattr(module, name)([p])
        for _ in range(3):
            p.grad = torch.arange(1.0, 4.0, dtype=torch.float64)
            optimizer.step()
            optimizer.param_groups[0].update(change)
        ends.append(p.detach())
    torch.testing.assert_close(*ends, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("start", [1.0, 1 / 3, 0.7])
def test_a_schedule_may_end_at_a_rate_of_0(start):
    for name in ("SGD", "AdamW"):
        optimizer, _, _ = made(name)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, start, 0.0, total_iters=7)
        for _ in range(10):
            optimizer.step()
            schedule.step()


def test_a_group_that_joins_later_is_checked_at_once():
    for key, value in (("lr", "x"), ("betas", (0.9, 1.5)), ("eps", -1.0), ("lambda_l1", -1.0)):
        optimizer, _, _ = made()
        new = {"params": [torch.nn.Parameter(torch.ones(2))], key: value}
        with pytest.raises((TypeError, ValueError), match=key):
            optimizer.add_param_group(new)
        assert len(optimizer.param_groups) == 1
        optimizer.step()


# The state ----------------------------------------------------------------------------------

STATES = [
    ("exp_avg", torch.zeros(4), ValueError, "shape"),
    ("exp_avg", torch.zeros(1, 4), ValueError, "shape"),
    ("exp_avg_sq", torch.zeros(4, 3), ValueError, "shape"),
    ("exp_avg", torch.zeros(3, 4, dtype=torch.int64), ValueError, "torch.int64"),
    ("exp_avg", torch.zeros(3, 4, dtype=torch.float64), ValueError, "torch.float64"),
    ("exp_avg", torch.zeros(3, 4).to_sparse(), TypeError, "dense"),
    ("exp_avg", "x", TypeError, "tensor"),
    ("exp_avg", [[0.0] * 4] * 3, TypeError, "tensor"),
    ("exp_avg", None, ValueError, "no 'exp_avg'"),
    ("step", None, ValueError, "no 'step'"),
    ("step", "3", TypeError, "whole number"),
    ("step", True, TypeError, "whole number"),
    ("step", torch.zeros(2), TypeError, "whole number"),
    ("step", torch.tensor(-1.0), ValueError, "whole number"),
    ("step", torch.tensor(2.5), ValueError, "whole number"),
    ("step", torch.tensor(math.nan), ValueError, "whole number"),
    ("step", math.inf, ValueError, "whole number"),
]


@pytest.mark.parametrize(("key", "value", "error", "words"), STATES)
def test_an_entry_of_the_state_that_does_not_fit_is_refused(key, value, error, words):
    optimizer, _, q = made()
    optimizer.state[q][key] = value
    before = [p.detach().clone() for p in optimizer.param_groups[0]["params"]]
    with pytest.raises(error, match=f"Adam.step: the state of parameter 1 of group 0.*{words}"):
        optimizer.step()
    for p, known in zip(optimizer.param_groups[0]["params"], before, strict=True):
        assert torch.equal(p, known)


@pytest.mark.parametrize("value", [torch.tensor(-1.0), torch.tensor(0.5), torch.tensor(math.nan)])
def test_a_count_that_is_changed_in_place_is_refused(value):
    optimizer, _, q = made()
    optimizer.state[q]["step"].copy_(value)
    before = optimizer.param_groups[0]["params"][0].detach().clone()
    with pytest.raises(ValueError, match="parameter 1 of group 0: 'step' must be a whole number"):
        optimizer.step()
    assert torch.equal(optimizer.param_groups[0]["params"][0], before)


@pytest.mark.parametrize(("key", "value", "error", "words"), STATES)
@pytest.mark.parametrize("taken_by", [fast.Adam, fast.NAdam])
def test_a_state_that_does_not_fit_is_not_loaded(key, value, error, words, taken_by):
    saved, _, _ = made(taken_by.__name__)
    optimizer, _, _ = made(taken_by.__name__, lr=0.25)
    state = copy.deepcopy(saved.state_dict())
    state["state"][1][key] = value
    if value is None:
        del state["state"][1][key]
    if getattr(value, "shape", None) == (3, 4) and not value.is_sparse:
        return  # torch converts it to the parameter's type
    said = f"load_state_dict: the state of parameter 1 of group 0.*{words}"
    assert_refused(optimizer, lambda: optimizer.load_state_dict(state), error, said)
    assert optimizer.param_groups[0]["lr"] == 0.25
    optimizer.step()


@pytest.mark.parametrize(
    ("key", "value"),
    [("lr", "x"), ("lr", math.nan), ("betas", (0.9, 1.5)), ("betas", (0.9,)), ("eps", None)],
)
def test_settings_that_no_step_can_use_are_not_loaded(key, value):
    optimizer, _, _ = made(lr=0.25)
    state = copy.deepcopy(optimizer.state_dict())
    state["param_groups"][0][key] = value

    def call():
        optimizer.load_state_dict(state)

    assert_refused(optimizer, call, (TypeError, ValueError), f"{key} of parameter group 0")
    del state["param_groups"][0][key]
    assert_refused(optimizer, call, ValueError, f"{key} .* is missing")
    assert optimizer.param_groups[0]["lr"] == 0.25
    optimizer.step()


def test_what_is_no_state_is_not_loaded():
    optimizer, _, _ = made()
    good = optimizer.state_dict()
    for bad in (
        None,
        5,
        "x",
        {},
        {"state": {}},
        good | {"state": 5},
        good | {"state": {0: 5}},
        good | {"param_groups": 5},
        good | {"param_groups": [5]},
        good | {"param_groups": [{}]},
        good | {"param_groups": [{"params": 5}]},
        good | {"param_groups": []},
        good | {"param_groups": [good["param_groups"][0] | {"params": [0]}]},
        torch.optim.SGD(optimizer.param_groups[0]["params"]).state_dict(),
    ):

        def call(bad=bad):
            optimizer.load_state_dict(bad)

        assert_refused(optimizer, call, (TypeError, ValueError), "Adam|param")
    optimizer.load_state_dict(good)


def test_hooks_may_take_a_state_of_another_form():
    optimizer, _, _ = made()
    state = optimizer.state_dict()
    optimizer.register_load_state_dict_pre_hook(lambda _, given: given["inner"])
    optimizer.load_state_dict({"inner": state})
    optimizer.step()


def test_a_state_of_another_rule_is_refused():
    saved, _, _ = made("SGD", momentum=0.9)
    optimizer, _, _ = made("Adam")
    state = saved.state_dict()
    state["param_groups"] = optimizer.state_dict()["param_groups"]
    with pytest.raises(ValueError, match="must have the entries"):
        optimizer.load_state_dict(state)


# Parameters that are replaced ---------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 4), (4,), (3, 1), (), (4, 3), (12,), (2, 3, 4), (1, 3, 4)])
@pytest.mark.parametrize("name", optimizers.__all__)
def test_a_parameter_swapped_for_one_of_another_shape_is_refused(name, shape):
    for steps in (0, 2):
        optimizer, p, q = made(name, steps, ema_decay=0.5)
        p.grad, q.grad = torch.ones(3, 4), torch.ones(3, 4)
        q.data = torch.ones(shape)
        assert_refused(optimizer, optimizer.step, ValueError, "of parameter 1 of group 0.*shape")
        if steps:
            assert_refused(optimizer, optimizer.swap_ema, ValueError, "'ema'.*shape")


def test_a_parameter_without_state_may_be_swapped_before_its_gradient():
    optimizer, p, _ = made("SGD")
    p.data, p.grad = torch.ones(2, 2), None
    p.grad = torch.ones(2, 2)
    optimizer.step()
    assert torch.equal(p, torch.full((2, 2), 0.999))
