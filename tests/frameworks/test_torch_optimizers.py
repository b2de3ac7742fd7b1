"""fastreg.torch's optimizers beside torch's: numbers, state, errors, and all that calls them."""

import copy
import importlib.util
import io
import pickle
import sys
import types
import unittest

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from models import assert_same, give, parameters, twins  # noqa: E402

import fastreg.torch as fast  # noqa: E402
from fastreg.torch import optimizers  # noqa: E402

if importlib.util.find_spec("expecttest") is None:  # the lists of configurations do without it
    sys.modules["expecttest"] = types.SimpleNamespace(TestCase=unittest.TestCase)
common = pytest.importorskip("torch.testing._internal.common_optimizers")
NAMES = [name for name in optimizers.__all__ if name != "Lion"]
INFOS = {info.optim_cls.__name__: info for info in common.optim_db}


def configurations():
    for name in NAMES:
        for given in INFOS[name].optim_inputs_func(device="cpu"):
            yield pytest.param(name, given.kwargs, id=f"{name}-{given.desc}")
    for kwargs in ({"momentum": 0.9, "dampening": 0.5}, {"momentum": 0.9, "nesterov": True}):
        yield pytest.param("SGD", kwargs, id=f"SGD-{kwargs}")
    for name in ("NAdam", "RAdam"):
        yield pytest.param(name, {"weight_decay": 0.1, "decoupled_weight_decay": True}, id=name)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("name", "kwargs"), list(configurations()))
def test_every_configuration_of_torch(name, kwargs, dtype):
    ours, theirs = twins(dtype)
    a, b = getattr(fast, name)(ours, **kwargs), getattr(torch.optim, name)(theirs, **kwargs)
    for k in range(20):
        give(k, ours, theirs, missing=True)
        a.step()
        b.step()
        tight = dtype == torch.float64
        assert_same(ours, theirs, *((1e-11, 1e-13) if tight else (2e-4, 1e-5)))
    for p, q in zip(ours, theirs, strict=True):
        assert set(a.state[p]) == set(b.state[q])
        for key, value in b.state[q].items():
            rtol, atol = (1e-9, 1e-12) if dtype == torch.float64 else (2e-3, 1e-4)
            torch.testing.assert_close(a.state[p][key], value, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_error_of_torch(name, dtype):
    for error in INFOS[name].optim_error_inputs_func(device="cpu", dtype=dtype):
        given = error.optimizer_error_input
        params = given.params if given.params is not None else parameters(dtype)
        make = getattr(fast, name)
        if error.error_type is UserWarning:
            with pytest.warns(UserWarning, match=error.error_regex):
                make(params, **given.kwargs)
        else:
            with pytest.raises(error.error_type, match=error.error_regex):
                make(params, **given.kwargs)


def reloaded(old, new):
    file = io.BytesIO()
    torch.save(old.state_dict(), file)
    file.seek(0)
    new.load_state_dict(torch.load(file, weights_only=True))
    return new


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kwargs", [{}, {"weight_decay": 0.1, "maximize": True}])
def test_a_run_changes_hands_at_every_step(name, kwargs):
    crossing, theirs = twins()
    b = getattr(torch.optim, name)(theirs, **kwargs)
    a = getattr(fast, name)(crossing, **kwargs)
    for k in range(50):
        give(k, crossing, theirs, missing=True)
        a.step()
        b.step()
        a = reloaded(a, getattr(fast if k % 2 else torch.optim, name)(crossing, lr=77.0))
        if name == "NAdam":  # torch converts its product of momenta in loading
            b = reloaded(b, torch.optim.NAdam(theirs))
    assert_same(crossing, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_plain_state_is_in_torchs_form(name):
    ours, theirs = twins()
    a, b = getattr(fast, name)(ours), getattr(torch.optim, name)(theirs)
    assert isinstance(a, getattr(torch.optim, name))
    give(0, ours, theirs)
    a.step()
    b.step()
    mine, others = a.state_dict(), b.state_dict()
    assert mine["param_groups"] == others["param_groups"]
    for i in others["state"]:
        assert {k: v.dtype for k, v in mine["state"][i].items()} == {
            k: v.dtype for k, v in others["state"][i].items()
        }


@pytest.mark.parametrize("name", optimizers.__all__)
def test_copies_and_pickles_go_on(name):
    ours = parameters()
    a = getattr(fast, name)(ours, lambda_l1=0.01, clip_norm=1.0)
    give(0, ours)
    a.step()
    model, b = copy.deepcopy((ours, a))
    again, c = pickle.loads(pickle.dumps((ours, a)))
    for k in range(1, 4):
        give(k, ours, model, again)
        for each in (a, b, c):
            each.step()
    assert_same(ours, model, 0, 0)
    assert_same(ours, again, 0, 0)


def test_groups_join_at_any_time_with_counts_of_their_own():
    ours, theirs = twins()
    a, b = fast.Adam(ours[:2]), torch.optim.Adam(theirs[:2])
    for k in range(6):
        if k == 3:
            a.add_param_group({"params": ours[2:], "lr": 0.1})
            b.add_param_group({"params": theirs[2:], "lr": 0.1})
        give(k, ours, theirs, missing=True)
        a.step()
        b.step()
    assert_same(ours, theirs)
    assert [a.state[p]["step"].item() for p in ours] == [b.state[p]["step"].item() for p in theirs]


def layouts():
    yield "channels_last", lambda x: x.to(memory_format=torch.channels_last)
    yield "permuted", lambda x: x.permute(3, 1, 0, 2)
    yield "contiguous", lambda x: x


@pytest.mark.parametrize("of_grad", [name for name, _ in layouts()])
@pytest.mark.parametrize("of_param", [name for name, _ in layouts()])
def test_layouts(of_param, of_grad):
    lay = dict(layouts())
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    p, q = (torch.nn.Parameter(lay[of_param](x.clone())) for _ in range(2))
    address, strides = p.data_ptr(), p.stride()
    a, b = fast.AdamW([p], lr=0.1), torch.optim.AdamW([q], lr=0.1)
    for _ in range(3):
        grad = torch.randn(2, 3, 4, 5, dtype=torch.float64)
        grad = lay[of_grad](grad) if of_grad == of_param else grad.reshape(p.shape)
        p.grad, q.grad = grad.clone(), grad.clone()
        a.step()
        b.step()
    assert_same([p], [q])
    assert (p.data_ptr(), p.stride()) == (address, strides)
    assert a.state[p]["exp_avg"].stride() == strides


def test_state_of_another_layout_is_laid_out_anew():
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    p, q = torch.nn.Parameter(x.clone()), torch.nn.Parameter(x.clone())
    a, b = fast.Adam([p]), torch.optim.Adam([q])
    give(0, [p], [q])
    a.step()
    b.step()
    p.data = p.data.to(memory_format=torch.channels_last)
    give(1, [p], [q])
    a.step()
    b.step()
    assert_same([p], [q])


def test_whatever_is_moved_or_replaced_is_found():
    ours, theirs = twins()
    a, b = fast.Adam(ours), torch.optim.Adam(theirs)
    for k in range(8):
        give(k, ours, theirs)
        for p, q in zip(ours, theirs, strict=True):
            if k == 1:
                p.data = p.data.clone()
            if k == 2:
                a.state[p]["exp_avg"] = a.state[p]["exp_avg"].clone()
            if k == 3:
                a.state[p]["exp_avg_sq"].set_(a.state[p]["exp_avg_sq"].clone())
            if k == 4:
                a.state[p], b.state[q] = {}, {}
            if k == 5:
                a.state[p]["step"], b.state[q]["step"] = torch.tensor(9.0), torch.tensor(9.0)
            if k == 6:
                for value in (p, *a.state[p].values()):
                    value.share_memory_()
        a.step()
        b.step()
        assert_same(ours, theirs)


def test_parameters_that_share_memory_step_one_after_the_other():
    x = torch.randn(100, dtype=torch.float64)
    models = []
    for optimizer in (fast.Adam, torch.optim.Adam):
        base = x.clone()
        whole, part = torch.nn.Parameter(base), torch.nn.Parameter(base[20:60])
        each = optimizer([whole, part], lr=0.1)
        for k in range(5):
            give(k, [whole, part])
            each.step()
        models.append((whole, part))
    assert_same(*models)


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate")
def test_a_parameter_given_twice_steps_twice():
    (p,), (q,) = twins(shapes=[(4, 3)])
    a, b = fast.Adam([p, p]), torch.optim.Adam([q, q])
    for k in range(5):
        give(k, [p], [q])
        a.step()
        b.step()
    assert_same([p], [q])


def test_a_gradient_may_be_the_parameter_itself():
    for aliased in (True, False):
        p = torch.nn.Parameter(torch.arange(5.0))
        p.grad = p.data if aliased else p.data.clone()
        fast.SGD([p], lr=0.5).step()
        np.testing.assert_array_equal(p.detach().numpy(), np.arange(5.0, dtype=np.float32) / 2)


def test_autograd_sees_the_step():
    p = torch.nn.Parameter(torch.ones(3))
    loss = (p * p).sum()
    loss.backward(retain_graph=True)
    version = p._version
    fast.SGD([p]).step()
    assert p._version == version + 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def schedulers():
    s = torch.optim.lr_scheduler
    yield lambda o: s.StepLR(o, 2, 0.5)
    yield lambda o: s.CosineAnnealingWarmRestarts(o, 3)
    yield lambda o: s.ReduceLROnPlateau(o, patience=0)
    yield lambda o: s.LambdaLR(o, lambda k: 1 / (k + 1))
    yield lambda o: s.LinearLR(o)
    yield lambda o: s.OneCycleLR(o, 0.1, 10)
    yield lambda o: s.CyclicLR(o, 0.01, 0.1, step_size_up=3)
    yield lambda o: s.SequentialLR(o, [s.ConstantLR(o), s.ExponentialLR(o, 0.9)], [4])


@pytest.mark.parametrize("make", list(schedulers()))
@pytest.mark.parametrize(("name", "kwargs"), [("SGD", {"momentum": 0.9}), ("AdamW", {})])
def test_schedulers(name, kwargs, make):
    ours, theirs = twins(shapes=[(4, 3)])
    a = getattr(fast, name)(ours, lr=0.1, **kwargs)
    b = getattr(torch.optim, name)(theirs, lr=0.1, **kwargs)
    mine, others = make(a), make(b)
    for k in range(8):
        give(k, ours, theirs)
        for each, scheduler in ((a, mine), (b, others)):
            each.step()
            is_plateau = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
            scheduler.step(1.0) if is_plateau else scheduler.step()
    assert_same(ours, theirs)


def test_hooks_closures_and_profiles():
    ours = parameters(shapes=[(3,)])
    a, seen = fast.Adam(ours), []
    a.register_step_pre_hook(lambda *_: seen.append("before"))
    a.register_step_post_hook(lambda *_: seen.append("after"))

    def closure():
        assert torch.is_grad_enabled()
        a.zero_grad()
        loss = (ours[0] ** 2).sum()
        loss.backward()
        seen.append("closure")
        return loss

    with torch.no_grad():
        assert a.step(closure).item() > 0
    assert seen == ["before", "closure", "after"]
    with torch.profiler.profile() as profile:
        a.step()
    assert "Optimizer.step#Adam.step" in {event.name for event in profile.events()}


@pytest.mark.parametrize("fused", [False, True])
def test_grad_scaler_and_clipping(fused):
    ours, theirs = twins(torch.float32)
    a, b = fast.AdamW(ours, fused=fused), torch.optim.AdamW(theirs)
    scalers = [torch.amp.GradScaler("cpu", init_scale=1024.0) for _ in range(2)]
    for k in range(6):
        give(k, ours, theirs)
        for params, each, scaler in ((ours, a, scalers[0]), (theirs, b, scalers[1])):
            scaler.scale(torch.ones(()))
            for p in params:
                p.grad *= scaler.get_scale()
            if k == 3:
                params[1].grad[2] = torch.inf
            scaler.unscale_(each)
            torch.nn.utils.clip_grad_norm_(params, 1.0)
            scaler.step(each)
            scaler.update()
    assert scalers[0].get_scale() == scalers[1].get_scale() == 512.0
    assert_same(ours, theirs, 1e-4, 1e-6)
    assert a.state[ours[0]]["step"] == 5


def test_tied_weights():
    for optimizer in (fast.Adam, torch.optim.Adam):
        torch.manual_seed(0)
        embed, out = torch.nn.Embedding(10, 4), torch.nn.Linear(4, 10, bias=False)
        out.weight = embed.weight
        model = torch.nn.Sequential(embed, encode_back := torch.nn.Linear(4, 4), out)
        each = optimizer(model.parameters(), lr=0.1)
        for _ in range(5):
            each.zero_grad()
            model(torch.arange(10)).square().mean().backward()
            each.step()
        assert out.weight is embed.weight
        result = [embed.weight.detach().clone(), encode_back.weight.detach().clone()]
        if optimizer is fast.Adam:
            first = result
    assert_same(first, result, 1e-5, 1e-6)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (3,)])
def test_a_gradient_that_is_negated_where_it_is_read(shape):
    ends = []
    for module in (fast, torch.optim):
        p = torch.nn.Parameter(torch.full(shape, 0.5))
        z = torch.complex(torch.ones(shape), p)
        (z.conj() * (1 + 2j)).real.sum().backward()
        assert p.grad.is_neg() == (p.numel() == 1)  # of more elements autograd makes a copy
        module.SGD([p], lr=1.0).step()
        ends.append(p.detach())
    assert torch.equal(*ends)


def sparse():
    p = torch.nn.Parameter(torch.zeros(5))
    p.grad = torch.zeros(5).to_sparse()
    return p


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: torch.nn.Parameter(torch.zeros(3, dtype=torch.float8_e5m2)), "torch.float8_e5m2"),
        (lambda: torch.nn.Parameter(torch.zeros(3, dtype=torch.complex64)), "torch.complex64"),
        (lambda: torch.nn.Parameter(torch.zeros(3, device="meta")), "one on meta"),
        (lambda: torch.zeros(6)[::2].requires_grad_(), "strides"),
        (lambda: torch.nn.Parameter(torch.zeros(3).to_sparse()), "torch.sparse_coo"),
        (lambda: torch._neg_view(torch.zeros(3)).requires_grad_(), "negated"),
    ],
)
@pytest.mark.parametrize("name", ["Adam", "SGD", "Lion"])
def test_what_is_not_supported_is_refused_by_name(name, make, words):
    with pytest.raises(TypeError, match=rf"{name}: parameter 1 of group 0 .*{words}.*torch.optim"):
        getattr(fast, name)([torch.nn.Parameter(torch.zeros(2)), make()])


def test_a_model_converted_later_is_refused():
    p = torch.nn.Parameter(torch.zeros(3))
    a = fast.Adam([p])
    p.grad = torch.ones(3)
    a.step()
    p.data = p.data.to(torch.float64)
    p.grad = torch.ones(3, dtype=torch.float64)
    with pytest.raises((TypeError, ValueError), match="Adam.*parameter 0 of group 0.*float64"):
        a.step()


def test_nothing_is_changed_where_one_gradient_is_refused():
    ours = [*parameters(torch.float32, shapes=[(3,)]), sparse()]
    a = fast.AdamW(ours, lr=0.1)
    ours[0].grad = torch.ones(3)
    before, version = ours[0].detach().clone(), ours[0]._version
    with pytest.raises(TypeError, match="gradient of parameter 1 of group 0 must be dense"):
        a.step()
    assert torch.equal(ours[0], before) and ours[0]._version == version and not a.state
    ours[1].grad = None
    a.step()
    assert a.state[ours[0]]["step"] == 1


def test_modes_that_a_kernel_cannot_have_are_refused():
    for flag in ("differentiable", "capturable"):
        with pytest.raises(ValueError, match=f"Adam: {flag} must be False"):
            fast.Adam(parameters(), **{flag: True})
