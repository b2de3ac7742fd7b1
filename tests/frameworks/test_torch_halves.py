"""fastreg.torch's optimizers over parameters of 16 bits: bits, draws, masters and states."""

import copy
import io
import pickle

import pytest

torch = pytest.importorskip("torch")

import fastreg  # noqa: E402
import fastreg.torch as fast  # noqa: E402
from fastreg.torch import optimizers  # noqa: E402

NAMES = optimizers.__all__
TYPES = [torch.bfloat16, torch.float16]
SHAPES = [(40_000,), (7, 13), (1,), ()]


@pytest.fixture(params=TYPES, ids=str)
def half(request):
    return request.param


def parameters(half, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(s, generator=g).to(half)) for s in SHAPES]


def give(seed, *lists):
    """The same gradients to all, each in its parameter's type."""
    g = torch.Generator().manual_seed(100 + seed)
    for k in range(len(SHAPES)):
        grad = torch.randn(SHAPES[k], generator=g).to(lists[0][k].dtype)
        for params in lists:
            params[k].grad = grad.to(params[k].dtype)


def same(ours, theirs):
    for p, q in zip(ours, theirs, strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("name", NAMES)
def test_masters_take_the_steps_of_floats(name, half):
    ours = parameters(half)
    theirs = [torch.nn.Parameter(p.detach().float()) for p in ours]
    a = getattr(fast, name)(ours, lr=0.01, weight_decay=0.1, clip_norm=1.0, master=True)
    b = getattr(fast, name)(theirs, lr=0.01, weight_decay=0.1, clip_norm=1.0)
    for k in range(4):
        give(k, ours, theirs)
        a.step()
        b.step()
        for p, q in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a.state[p]["master"], q.detach(), rtol=1e-5, atol=1e-6)
            assert torch.equal(p, a.state[p]["master"].to(half))
    for p, q in zip(ours, theirs, strict=True):
        assert set(a.state[p]) == {*b.state[q], "master"}
        assert all(value.dtype == torch.float32 for value in a.state[p].values())


@pytest.mark.parametrize("name", NAMES)
def test_without_masters_a_step_ends_on_one_of_two_neighbours(name, half):
    ours = parameters(half)
    theirs = [torch.nn.Parameter(p.detach().float()) for p in ours]
    a, b = getattr(fast, name)(ours, lr=0.003), getattr(fast, name)(theirs, lr=0.003)
    give(0, ours, theirs)
    a.step()
    b.step()
    for p, q in zip(ours, theirs, strict=True):
        near = q.to(half)
        ends = torch.finfo(half).max
        below = torch.where(near.float() <= q, near, torch.nextafter(near, near - ends))
        above = torch.where(near.float() >= q, near, torch.nextafter(near, near + ends))
        assert ((p == below) | (p == above)).all()
    off, exact = ours[0].detach().double(), theirs[0].detach().double()
    spread = (ours[0].abs().double() * torch.finfo(half).eps).square().mean().sqrt()
    assert (off - exact).mean().abs() < 5 * spread / 200  # of 40,000


def drawn(half, seed, threads):
    ours = parameters(half)
    a = fast.AdamW(ours, lr=0.003)
    torch.manual_seed(seed)
    with fastreg.num_threads(threads):
        for k in range(3):
            give(k, ours)
            a.step()
    return ours


def test_draws_follow_torch_s_generator_and_no_number_of_threads(half):
    same(drawn(half, 5, 1), drawn(half, 5, 2))
    assert not torch.equal(drawn(half, 5, 1)[0], drawn(half, 6, 1)[0])
    torch.manual_seed(1)
    before = torch.get_rng_state()
    for master, params in ((True, parameters(half)), (False, parameters(torch.float32))):
        give(0, params)
        fast.AdamW(params, master=master).step()
    assert torch.equal(torch.get_rng_state(), before)


def test_small_steps_are_not_lost(half):
    p = torch.nn.Parameter(torch.ones(4096, dtype=half))
    rate = torch.finfo(half).eps / 1000
    a = fast.SGD([p], lr=rate)
    stuck = torch.ones(4096, dtype=half)
    torch.manual_seed(0)
    for _ in range(1500):
        p.grad = -torch.ones_like(p)
        a.step()
        stuck += rate
    assert (stuck == 1).all()
    moved = (p.detach().double() - 1).mean() / torch.finfo(half).eps
    assert abs(moved - 1.5) < 5 * (1.5 / 4096) ** 0.5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("master", [False, True])
def test_a_state_is_loaded_bit_for_bit(name, master, half):
    """In another optimizer, out of a file and through a pickle, the run goes on unchanged."""
    ours = parameters(half)
    a = getattr(fast, name)(ours, lr=0.01, master=master)
    for k in range(2):
        give(k, ours)
        a.step()
    file = io.BytesIO()
    torch.save(a.state_dict(), file)
    file.seek(0)
    params = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    b = getattr(fast, name)(params, lr=0.5, master=master)
    b.load_state_dict(torch.load(file))
    pickled = pickle.loads(pickle.dumps((ours, a)))
    copied = copy.deepcopy((ours, a))
    runs = [(ours, a), (params, b), pickled, copied]
    for k in range(2, 4):
        for values, optimizer in runs:
            give(k, values)
            torch.manual_seed(k)
            optimizer.step()
    for values, _ in runs[1:]:
        same(values, ours)
    for p, q in zip(ours, params, strict=True):
        for key, value in a.state[p].items():
            assert value.dtype == torch.float32
            assert torch.equal(value, b.state[q][key])


def test_states_go_to_torch_s_class_and_back(half):
    ours, theirs = parameters(half), parameters(half)
    a, b = fast.AdamW(ours, lr=0.01, master=True), torch.optim.AdamW(theirs, lr=0.01)
    give(0, ours, theirs)
    a.step()
    b.load_state_dict(a.state_dict())
    give(1, ours, theirs)
    b.step()
    for p in theirs:
        assert b.state[p]["exp_avg"].dtype == half
    for master in (True, False):
        c = fast.AdamW(ours, lr=0.01, master=master)
        c.load_state_dict(b.state_dict())
        for p, q in zip(ours, theirs, strict=True):
            assert torch.equal(c.state[p]["exp_avg"], b.state[q]["exp_avg"].float())
            assert ("master" in c.state[p]) == master
        c.step()


def test_a_model_may_be_converted_and_goes_on(half):
    p = torch.nn.Parameter(torch.linspace(-1, 1, 50))
    a = fast.Adam([p], master=True)
    p.grad = torch.ones(50)
    a.step()
    assert "master" not in a.state[p]
    before = a.state[p]["exp_avg"].clone()
    p.data, p.grad = p.data.to(half), None
    p.grad = torch.zeros(50, dtype=half)
    a.step()
    torch.testing.assert_close(a.state[p]["exp_avg"], before * 0.9)
    assert torch.equal(a.state[p]["master"].to(half), p.detach())


def test_averages_change_places_with_masters(half):
    ours = parameters(half)
    a = fast.AdamW(ours, lr=0.01, ema_decay=0.9, master=True)
    for k in range(3):
        give(k, ours)
        a.step()
    live = [p.detach().clone() for p in ours]
    masters = [a.state[p]["master"].clone() for p in ours]
    averages = [a.state[p]["ema"].clone() for p in ours]
    a.swap_ema()
    same(ours, [average.to(half) for average in averages])
    same([a.state[p]["ema"] for p in ours], masters)
    a.swap_ema()
    same(ours, live)
    same([a.state[p]["ema"] for p in ours], averages)
    a.step()


def test_what_does_not_fit_is_refused(half):
    p = torch.nn.Parameter(torch.ones(3, dtype=half))
    with pytest.raises(TypeError, match=r"Adam: parameter 0 of group 0 must.*average.*master=True"):
        fast.Adam([p], ema_decay=0.5)
    with pytest.raises(TypeError, match="Adam: master must be"):
        fast.Adam([p], master=1)
    a = fast.Adam([p], master=True)
    p.grad = torch.ones(3, dtype=half)
    a.step()
    for key, wrong in (
        ("exp_avg", torch.zeros(3, dtype=torch.float64)),
        ("master", torch.zeros(3, dtype=half)),
    ):
        kept, before = a.state[p][key], p.detach().clone()
        a.state[p][key] = wrong
        with pytest.raises(ValueError, match=rf"Adam.step: the state.*{key}.*torch.float32"):
            a.step()
        assert torch.equal(p, before)
        a.state[p][key] = kept
    a.step()
