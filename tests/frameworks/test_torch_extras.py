"""What fastreg.torch's optimizers do beyond torch's."""

import collections
import copy
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from models import assert_same, give, parameters  # noqa: E402

import fastreg  # noqa: E402
import fastreg.torch as fast  # noqa: E402


def arrays(params):
    return {str(i): p.detach().numpy().copy() for i, p in enumerate(params)}


@pytest.mark.parametrize(
    ("given", "service"),
    [
        ({"lambda_l1": 0.3, "l1_mode": "prox"}, {"lambda_l1": 0.3, "l1_mode": "prox"}),
        ({"lambda_l1": 0.3}, {"lambda_l1": 0.3}),
        ({"lambda_l2": 0.3}, {"lambda_l2": 0.3}),
        ({"clip_value": 0.1}, {"clip_value": 0.1}),
        ({"clip_norm": 0.1}, {"clip_norm": 0.1}),
        ({"weight_decay": 0.5, "exclude": lambda p: p.ndim < 2}, {"exclude": ["1", "2"]}),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extras_have_the_bits_of_fastregs_own(given, service, dtype):
    ours = parameters(dtype)
    a = fast.AdamW(ours, **{"weight_decay": 0.0, **given})
    decay = given.get("weight_decay", 0.0)
    b, theirs = fastreg.AdamW(weight_decay=decay, compat="torch", **service), arrays(ours)
    for k in range(4):
        give(k, ours)
        b.update(theirs, {str(i): p.grad.numpy() for i, p in enumerate(ours)})
        a.step()
    for p, expected in zip(ours, theirs.values(), strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), expected)


def test_extras_survive_a_visit_to_torch():
    ours = parameters()
    a = fast.AdamW(ours, lambda_l1=0.5)
    give(0, ours)
    a.step()
    b = torch.optim.AdamW(ours)
    b.load_state_dict(a.state_dict())
    c = fast.AdamW(ours)
    c.load_state_dict(b.state_dict())
    assert c.param_groups[0]["lambda_l1"] == 0.5
    d = fast.AdamW(ours, lambda_l1=0.25)
    d.load_state_dict(torch.optim.AdamW(ours).state_dict())
    assert d.param_groups[0]["lambda_l1"] == 0.25


def test_names_may_exclude():
    model = torch.nn.Linear(3, 2)
    before = [p.detach().clone() for p in model.parameters()]
    a = fast.AdamW(model.named_parameters(), lr=0.1, weight_decay=0.5, exclude=["*bias"])
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    a.step()
    assert torch.equal(model.bias, before[1])
    torch.testing.assert_close(model.weight.detach(), before[0] * 0.95)
    b = fast.AdamW(model.parameters(), exclude=["*bias"])
    with pytest.raises(ValueError, match="model.named_parameters"):
        b.step()


def test_what_is_not_finite_is_skipped_or_raised():
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.tensor([1.0, torch.nan, 1.0])
    a = fast.Adam([p], on_nonfinite="skip")
    a.step()
    assert a.skipped == 1 and torch.equal(p, torch.ones(3)) and not a.state
    with pytest.raises(FloatingPointError, match="parameter 0 of group 0"):
        fast.Adam([p], on_nonfinite="raise").step()
    a.load_state_dict(a.state_dict())
    other = pickle.loads(pickle.dumps(a))
    a.step()
    assert (a.skipped, other.skipped, copy.deepcopy(a).skipped) == (2, 1, 2)
    fast.Adam([p]).step()
    assert p[1].isnan()


def test_averages():
    ours = parameters(torch.float32)
    a = fast.SGD(ours, lr=0.1, ema_decay=0.5)
    expected = [p.detach().clone() for p in ours]
    with pytest.raises(RuntimeError, match="needs ema_decay"):
        a.swap_ema()
    for k in range(3):
        give(k, ours)
        a.step()
        expected = [0.5 * e + 0.5 * p.detach() for e, p in zip(expected, ours, strict=True)]
    now = [p.detach().clone() for p in ours]
    a.swap_ema()
    assert_same([p.detach() for p in ours], expected, 1e-6, 1e-7)
    for method in (a.step, a.state_dict):
        with pytest.raises(RuntimeError, match="call swap_ema"):
            method()
    a.swap_ema()
    assert_same([p.detach() for p in ours], now, 0, 0)


def test_lion_has_the_bits_of_fastregs_own():
    ours = parameters()
    a, b = fast.Lion(ours, weight_decay=0.1), fastreg.Lion(1e-4, weight_decay=0.1)
    theirs = arrays(ours)
    for k in range(5):
        give(k, ours)
        b.update(theirs, {str(i): p.grad.numpy() for i, p in enumerate(ours)})
        a.step()
    for p, expected in zip(ours, theirs.values(), strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), expected)
    assert set(a.state[ours[0]]) == {"exp_avg"}


@pytest.mark.parametrize(
    "given",
    [
        {"clip_norm": 0.0},
        {"clip_norm": "1"},
        {"lambda_l1": -1.0},
        {"l1_mode": "soft"},
        {"ema_decay": 1.0},
        {"exclude": 3},
        {"on_nonfinite": "stop"},
    ],
)
def test_bad_extras_are_refused(given):
    with pytest.raises((TypeError, ValueError), match=next(iter(given))):
        fast.Adam(parameters(), **given)


class Refusing(collections.defaultdict):
    """The state of an optimizer, which takes none for one parameter."""

    refused = None

    def __setitem__(self, param, state):
        if param is self.refused:
            raise RuntimeError("not this one")
        super().__setitem__(param, state)


def test_state_that_cannot_be_entered_leaves_none_behind():
    one, other = (torch.nn.Parameter(torch.ones(3)) for _ in "ab")
    optimizer = fast.AdamW([one, other])
    optimizer.state = Refusing(dict, {one: {}})
    optimizer.state.refused = other
    one.grad, other.grad = torch.ones(3), torch.ones(3)
    with pytest.raises(RuntimeError, match="not this one"):
        optimizer.step()
    assert optimizer.state[one] == {} and other not in optimizer.state
    assert (one == 1).all() and (other == 1).all()
    optimizer.state.refused = None
    optimizer.step()
    assert (one < 1).all() and (other < 1).all()
