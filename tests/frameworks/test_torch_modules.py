"""fastreg.torch's modules beside torch's: values, gradients, state, and where they give way."""

import copy
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import fastreg  # noqa: E402
import fastreg.torch as fast  # noqa: E402
from fastreg.torch import dropout, norm  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own
nn = torch.nn
NORMS = [
    ("BatchNorm1d", (6,), {}, (5, 6)),
    ("BatchNorm1d", (6,), {"momentum": None}, (5, 6, 4)),
    ("BatchNorm1d", (6,), {"affine": False}, (5, 6)),
    ("BatchNorm2d", (3,), {"momentum": 0.3}, (4, 3, 5, 2)),
    ("BatchNorm2d", (3,), {"track_running_stats": False}, (4, 3, 5, 2)),
    ("BatchNorm3d", (3,), {}, (2, 3, 2, 3, 2)),
    ("LayerNorm", (6,), {}, (4, 2, 6)),
    ("LayerNorm", ((3, 4),), {"bias": False}, (2, 3, 4)),
    ("LayerNorm", (6,), {"elementwise_affine": False}, (4, 6)),
    ("RMSNorm", (6,), {}, (4, 6)),
    ("RMSNorm", (6,), {"eps": 1e-3, "elementwise_affine": False}, (4, 6)),
    ("GroupNorm", (2, 4), {}, (3, 4, 5)),
    ("GroupNorm", (2, 4), {"affine": False}, (3, 4)),
    ("InstanceNorm1d", (3,), {}, (2, 3, 5)),
    ("InstanceNorm2d", (3,), {"affine": True}, (2, 3, 5, 4)),
    ("InstanceNorm3d", (3,), {"affine": True}, (2, 3, 2, 3, 4)),
]
DROPOUTS = [
    ("Dropout", (4, 5)),
    ("Dropout1d", (3, 4, 5)),
    ("Dropout2d", (3, 4, 5, 2)),
    ("Dropout3d", (3, 4, 2, 2, 2)),
    ("AlphaDropout", (4, 5)),
    ("GaussianDropout", (4, 5)),
]
norms = pytest.mark.parametrize(("name", "args", "kwargs", "shape"), NORMS)
dropouts = pytest.mark.parametrize(("name", "shape"), DROPOUTS)
kinds = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def pair(name, args, kwargs, dtype):
    ours = getattr(fast, name)(*args, **kwargs, dtype=dtype)
    theirs = getattr(nn, name)(*args, **kwargs, dtype=dtype)
    for p in ours.parameters():
        nn.init.normal_(p)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def leaves(shape, dtype):
    count = math.prod(shape)  # numbers that keep a distance, so that no two make a tiny variance
    x = (torch.randperm(count).to(dtype) / count * 4 - 2).reshape(shape)
    return x.clone().requires_grad_(), x.clone().requires_grad_()


def is_ours(y):
    return type(y.grad_fn).__name__ in ("NormedBackward", "NoisyBackward")


def same(a, b, dtype=torch.float64):
    rtol, atol = (1e-10, 1e-11) if dtype == torch.float64 else (2e-4, 2e-5)
    torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


@norms
@kinds
@pytest.mark.parametrize("training", [True, False])
def test_norms_do_what_torchs_do(name, args, kwargs, shape, dtype, training):
    ours, theirs = pair(name, args, kwargs, dtype)
    assert isinstance(ours, getattr(nn, name)) and repr(ours) == repr(theirs)
    for warm in (True, training):
        ours.train(warm)
        theirs.train(warm)
        x, z = leaves(shape, dtype)
        y, w = ours(x), theirs(z)
        assert is_ours(y), "a kernel ran"
        same(y, w, dtype)
        dy = torch.randn(shape, dtype=dtype)
        y.backward(dy)
        w.backward(dy)
        same(x.grad, z.grad, dtype)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        same(p.grad, q.grad, dtype)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for p, q in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        same(p, q, dtype)
    with torch.no_grad():
        same(ours(x), theirs(z), dtype)


@norms
@pytest.mark.parametrize("training", [True, False])
def test_norms_by_gradcheck(name, args, kwargs, shape, training):
    ours, _ = pair(name, args, kwargs, torch.float64)
    ours.train(training)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    params = tuple(ours.parameters())

    def call(x, *params):
        return torch.func.functional_call(
            ours, dict(zip(dict(ours.named_parameters()), params, strict=True)), (x,)
        )

    assert is_ours(call(x, *params))
    assert torch.autograd.gradcheck(call, (x, *params), check_batched_grad=True)
    assert torch.autograd.gradgradcheck(call, (x, *params))


@dropouts
def test_dropouts_by_gradcheck(name, shape):
    layer = getattr(fast, name)(0.4)

    def call(x):
        torch.manual_seed(3)
        return layer(x)

    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert is_ours(call(x))
    assert torch.autograd.gradcheck(call, (x,), check_batched_grad=True)
    assert torch.autograd.gradgradcheck(call, (x,))


@dropouts
@kinds
def test_masks_follow_torchs_seed_and_no_thread_count(name, shape, dtype):
    layer, x = getattr(fast, name)(0.5), torch.ones((64, *shape[1:]), dtype=dtype)
    results = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        results.append([layer(x), layer(x)])
    assert torch.equal(results[0][0], results[2][0]) and torch.equal(results[0][1], results[2][1])
    assert not torch.equal(results[0][0], results[1][0])
    assert not torch.equal(results[0][0], results[0][1])
    for n in (1, 2):
        with fastreg.num_threads(n):
            torch.manual_seed(1)
            assert torch.equal(layer(x), results[0][0])
    layer.eval()
    assert layer(x) is x


def test_a_mask_has_the_right_numbers_in_it():
    x = torch.ones(1000, 1000, requires_grad=True)
    y = fast.Dropout(0.25)(x)
    y.backward(torch.ones_like(y))
    assert set(np.unique(y.detach().numpy())) == {np.float32(0), np.float32(4 / 3)}
    assert torch.equal(x.grad, y)
    assert abs((y == 0).float().mean().item() - 0.25) < 0.003
    for name, shape in (("Dropout1d", (900, 7, 5)), ("Dropout2d", (900, 7, 3, 5))):
        channels = getattr(fast, name)(0.25)(torch.ones(shape)).flatten(2)
        assert torch.equal(channels, channels[:, :, :1].expand_as(channels))
        assert abs((channels[:, :, 0] == 0).float().mean().item() - 0.25) < 0.03
    z = torch.randn(1000, 1000)
    for layer in (fast.AlphaDropout(0.2), fast.GaussianDropout(0.2)):
        w = layer(z)
        assert abs(w.mean().item()) < 0.01
    assert abs(fast.AlphaDropout(0.2)(z).std().item() - 1) < 0.01
    assert abs(fast.GaussianDropout(0.2)(torch.ones(10**6)).std().item() - 0.5) < 0.005


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("name", ["Dropout", "AlphaDropout", "Dropout2d"])
def test_rates_at_the_ends(name, p):
    x = torch.randn(3, 4, 5, 5, requires_grad=True)
    y, w = getattr(fast, name)(p)(x), getattr(nn, name)(p)(x)
    same(y, w, torch.float32)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_draws_the_same_mask_again(reentrant):
    block = nn.Sequential(nn.Linear(8, 8), fast.LayerNorm(8), fast.Dropout(0.5), nn.Linear(8, 8))
    x = torch.randn(16, 8, requires_grad=True)
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(5)
        block.zero_grad()
        x.grad = None
        run = torch.utils.checkpoint.checkpoint if checkpointed else lambda f, x, **_: f(x)
        run(block, x, use_reentrant=reentrant).square().sum().backward()
        gradients.append([x.grad.clone(), *(p.grad.clone() for p in block.parameters())])
    for a, b in zip(*gradients, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["BatchNorm2d", "Dropout", "Dropout2d"])
def test_channels_last_stays_channels_last(name):
    x = torch.randn(4, 6, 5, 5).to(memory_format=torch.channels_last).requires_grad_()
    layer = fast.BatchNorm2d(6) if name == "BatchNorm2d" else getattr(fast, name)(0.5)
    torch.manual_seed(0)
    y = layer(x)
    assert is_ours(y) and y.is_contiguous(memory_format=torch.channels_last)
    dy = torch.randn(4, 6, 5, 5)
    (dx,) = torch.autograd.grad(y, x, dy, retain_graph=True)
    (again,) = torch.autograd.grad(y, x, dy.to(memory_format=torch.channels_last))
    assert torch.equal(dx, again)
    if name == "BatchNorm2d":
        z = x.detach().contiguous().requires_grad_()
        w = nn.BatchNorm2d(6)(z)
        w.backward(dy)
        same(y, w, torch.float32)
        same(dx, z.grad, torch.float32)
    else:
        same(dx, torch.where(y == 0, 0.0, dy * 2), torch.float32)


def test_strided_inputs_and_gradients():
    x = torch.randn(12, 10, dtype=torch.float64)[::2, 1:7].requires_grad_()
    ours, theirs = pair("LayerNorm", (6,), {}, torch.float64)
    for dy in (torch.randn(6, 6, dtype=torch.float64).t(), torch.ones((), dtype=torch.float64)):
        dy = dy.expand(6, 6)
        same(*(torch.autograd.grad(layer(x), x, dy)[0] for layer in (ours, theirs)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "x",
    [
        torch.randn(4, 6, dtype=torch.bfloat16),
        torch.randn(4, 6, dtype=torch.float16),
        torch.empty(4, 6, device="meta"),
        torch.randn(0, 6),
        torch.randn(4, 6, dtype=torch.complex64).conj().imag,
        torch.randn((1,) * 31 + (4, 6)),
    ],
    ids=["bfloat16", "float16", "meta", "empty", "negative view", "33 axes"],
)
@pytest.mark.parametrize("name", ["LayerNorm", "RMSNorm", "BatchNorm1d", "Dropout"])
def test_elsewhere_it_is_torchs_own(name, x):
    args = (0.5,) if name == "Dropout" else (6,)
    settings = {} if name == "Dropout" else {"dtype": x.dtype, "device": x.device}
    ours, theirs = (getattr(m, name)(*args, **settings) for m in (fast, nn))
    results = []
    for layer in (ours, theirs):
        torch.manual_seed(0)
        try:
            results.append(layer(x))
        except Exception as error:
            results.append((type(error), str(error)))
    if isinstance(results[1], tuple):
        assert results[0] == results[1]
    elif x.device.type == "meta":
        assert results[0].device.type == "meta"
    elif not (name == "Dropout" and x.is_neg()):
        torch.testing.assert_close(*results)


@pytest.mark.parametrize(
    ("name", "args", "shape"),
    [
        ("BatchNorm1d", (6,), (4, 5)),
        ("BatchNorm1d", (6,), (1, 6)),
        ("BatchNorm2d", (6,), (4, 6)),
        ("LayerNorm", (6,), (4, 5)),
        ("LayerNorm", (6,), ()),
        ("GroupNorm", (2, 6), (4, 5, 3)),
        ("GroupNorm", (2, 6), (6,)),
        ("InstanceNorm1d", (6,), (2, 6, 1)),
        ("RMSNorm", (6,), (4, 5)),
    ],
)
def test_errors_are_torchs(name, args, shape):
    said = []
    for module in (fast, nn):
        with pytest.raises((ValueError, RuntimeError)) as error:
            getattr(module, name)(*args)(torch.zeros(shape))
        said.append((error.type, str(error.value)))
    assert said[0] == said[1]


@pytest.mark.parametrize("n", [1, 2, 50])
@pytest.mark.parametrize("tensor", ["weight", "bias", "running_mean", "running_var"])
@pytest.mark.parametrize(
    ("name", "args", "shape"),
    [
        ("BatchNorm1d", (6,), (4, 6)),
        ("LayerNorm", (6,), (4, 6)),
        ("RMSNorm", (6,), (4, 6)),
        ("GroupNorm", (2, 6), (4, 6, 5)),
        ("InstanceNorm1d", (6, 1e-5, 0.1, True), (2, 6, 3)),
    ],
)
def test_a_tensor_of_another_size_is_not_read(name, args, shape, tensor, n):
    said = []
    for module in (fast, nn):
        layer = getattr(module, name)(*args)
        if getattr(layer, tensor, None) is None:
            return
        replaced = torch.ones(n)
        setattr(layer, tensor, nn.Parameter(replaced) if tensor in ("weight", "bias") else replaced)
        for mode in (True, False):
            with pytest.raises((ValueError, RuntimeError)) as error:
                layer.train(mode)(torch.zeros(shape))
            said.append((error.type, str(error.value)))
    assert said[:2] == said[2:]


def network():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout2d(0.5),
        nn.Flatten(),
        nn.Linear(4 * 4 * 4, 8),
        nn.LayerNorm(8),
        nn.Dropout(0.5),
    )


def test_compiled_models_are_torchs_own():
    model = network().eval()
    x = torch.randn(3, 2, 6, 6)
    expected = model(x)
    fast.accelerate(model)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    same(compiled(x), expected, torch.float32)
    model.train()
    compiled(x).sum().backward()


def test_vmap_jacobians_tracing_and_forward_mode():
    layer, theirs = fast.LayerNorm(6), nn.LayerNorm(6)
    x = torch.randn(3, 4, 6)
    same(torch.vmap(layer)(x), theirs(x), torch.float32)
    same(torch.func.jacrev(layer)(x[0]), torch.func.jacrev(theirs)(x[0]), torch.float32)
    same(torch.func.jvp(layer, (x,), (x,))[1], torch.func.jvp(theirs, (x,), (x,))[1], torch.float32)
    jacobian = torch.autograd.functional.jacobian
    same(jacobian(layer, x[0], vectorize=True), jacobian(theirs, x[0]), torch.float32)
    exported = torch.export.export(layer, (x,))
    same(exported.module()(x), theirs(x), torch.float32)


def test_masks_are_drawn_in_any_mode():
    """Whoever draws first: what it draws with may be written to later."""
    import threading

    layer, x, seen = fast.Dropout(0.5), torch.ones(1000), []

    def work():
        with torch.inference_mode():
            layer(x)
        with torch.device("meta"):
            seen.append(layer(x))
        seen.append(layer(x))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(seen) == 2 and all(0.4 < (y == 0).float().mean() < 0.6 for y in seen)


def test_a_tensor_that_escaped_from_a_transform_is_torchs():
    escaped = []
    torch.vmap(lambda x: escaped.append(x) or x)(torch.randn(3, 4, 6))
    for layer in (fast.LayerNorm(6), fast.Dropout(0.5), fast.BatchNorm1d(6)):
        with pytest.raises(RuntimeError, match="escaped"):
            layer(escaped[0])


def test_a_changed_input_is_noticed():
    x = torch.randn(4, 6)
    layer = fast.LayerNorm(6)
    y = layer(x)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("module", [dropout, norm])
def test_modules_keep_torchs_signatures(module):
    for name in module.__all__:
        theirs = getattr(nn, name, None)
        if theirs is not None:
            assert issubclass(getattr(fast, name), theirs)


def test_accelerate_exchanges_in_place_and_restore_undoes_it():
    class Mine(nn.LayerNorm):
        pass

    model = network()
    model.extend([Mine(8), nn.Dropout(0.5, inplace=True), nn.LayerNorm(8, dtype=torch.bfloat16)])
    model.extend([nn.LocalResponseNorm(2), nn.MultiheadAttention(8, 2, dropout=0.1)])
    state, modules = copy.deepcopy(model.state_dict()), list(model.modules())
    params, types = list(model.parameters()), [type(m) for m in model.modules()]
    seen = []
    model[1].register_forward_hook(lambda *_: seen.append(1))
    done = fast.accelerate(model)
    assert list(done.swapped) == ["1", "3", "6", "7"]
    assert set(done.left) == {"8", "9", "10", "11", "12"}
    assert "bfloat16" in done.left["10"] and "inplace" in done.left["9"]
    assert "1: BatchNorm2d, exchanged" in str(done) and "8: left, Mine" in str(done)
    assert type(model[1]) is fast.BatchNorm2d
    assert all(a is b for a, b in zip(model.modules(), modules, strict=True))
    assert all(a is b for a, b in zip(model.parameters(), params, strict=True))
    for a, b in zip(model.state_dict().values(), state.values(), strict=True):
        assert torch.equal(a, b)
    model[:7](torch.randn(3, 2, 6, 6))
    assert seen
    assert not fast.accelerate(model).swapped, "once is enough"
    fast.restore(model)
    assert [type(m) for m in model.modules()] == types
    for function in (fast.accelerate, fast.restore):
        with pytest.raises(TypeError, match="must be a torch.nn.Module"):
            function(3)
    alone = nn.LayerNorm(3)
    assert fast.accelerate(alone).swapped == {"": "LayerNorm"}
