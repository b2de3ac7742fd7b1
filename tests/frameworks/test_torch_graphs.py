"""What may change between a module's forward and its backward, and who else may run it."""

import copy

import pytest

torch = pytest.importorskip("torch")
import inspect  # noqa: E402

from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import fastreg.torch  # noqa: E402

BATCH = [("BatchNorm1d", (6, 5)), ("BatchNorm2d", (4, 5, 3, 2)), ("BatchNorm3d", (2, 5, 3, 2, 2))]
SHAPES = {
    **dict(BATCH), "LayerNorm": (6, 5), "RMSNorm": (6, 5), "InstanceNorm1d": (2, 5, 3),
    "InstanceNorm2d": (2, 5, 3, 2), "InstanceNorm3d": (2, 5, 3, 2, 2), "Dropout": (6, 5),
    "Dropout1d": (2, 5, 3), "Dropout2d": (2, 5, 3, 2), "Dropout3d": (2, 5, 3, 2, 2),
    "AlphaDropout": (6, 5),
}  # fmt: skip


def pair(name, *args, **kwargs):
    """A module and torch's, with the same numbers in float64."""
    theirs = getattr(nn, name)(*args, **kwargs).double()
    with torch.no_grad():
        for t in (*theirs.parameters(), *theirs.buffers()):
            if t.is_floating_point():
                t.copy_(torch.rand_like(t) + 0.5)
    ours = copy.deepcopy(theirs)
    fastreg.torch.accelerate(ours)
    return ours, theirs


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize(("name", "shape"), BATCH)
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_moves_running_statistics_as_often_as_in_torch(
    name, shape, momentum, reentrant
):
    """The second run may end as soon as it has saved what backward needs."""
    X = torch.randn(shape, dtype=torch.float64)
    kept = []
    for module in pair(name, 5, momentum=momentum):
        x = X.clone().requires_grad_()
        y = checkpoint(lambda t, m=module: m(m(t)), x, use_reentrant=reentrant)
        (y * X).sum().backward()
        kept.append([y, x.grad, *module.buffers()])
    assert_same(*kept)


@pytest.mark.parametrize(
    ("name", "args", "shape"),
    [(name, (5,), shape) for name, shape in BATCH]
    + [("LayerNorm", (5,), (6, 5)), ("GroupNorm", (2, 4), (3, 4, 2))],
)
@pytest.mark.parametrize("double", [False, True])
def test_a_bias_may_change_before_backward(name, args, shape, double):
    """No gradient depends on it: two losses may step it one after the other."""
    X = torch.randn(shape, dtype=torch.float64)
    kept = []
    for module, change in zip(pair(name, *args), (True, False), strict=True):
        x = X.clone().requires_grad_()
        y = module(x)
        if change:
            with torch.no_grad():
                module.bias.mul_(2)
        inputs = [x, module.weight, module.bias]
        grads = torch.autograd.grad((y**3).sum(), inputs, create_graph=double)
        seconds = torch.autograd.grad((grads[0] ** 2).sum(), inputs) if double else ()
        kept.append([*grads, *seconds])
    assert_same(*kept)


@pytest.mark.parametrize(("name", "shape"), BATCH)
def test_second_gradients_are_of_the_running_statistics_that_forward_used(name, shape):
    """Torch's own would be of those that a step of training has moved since."""
    ours, theirs = pair(name, 5)
    X = torch.randn(shape, dtype=torch.float64)
    kept = []
    for module in (ours.eval(), theirs.eval()):
        x = X.clone().requires_grad_()
        y = module(x)
        if module is ours:
            module.train()(X * 3 + 1)
        (first,) = torch.autograd.grad((y**3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad((first**2).sum(), x)
        kept.append([first, second])
    assert_same(*kept)


@pytest.mark.parametrize("name", sorted(set(SHAPES) | {"GroupNorm"}))
def test_forward_takes_torchs_arguments_by_name(name):
    ours, theirs = (getattr(where, name).forward for where in (fastreg.torch, nn))
    assert [*inspect.signature(ours).parameters] == [*inspect.signature(theirs).parameters]


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_symbolic_traces_have_the_module_as_it_is(name):
    """So train and eval go on switching it, and no shape is asked of what has none."""
    X = torch.randn(SHAPES[name], dtype=torch.float64)
    module = nn.Sequential(pair(name, *((0.5,) if "Dropout" in name else (5,)))[0])
    for mode in (True, False):
        traced = torch.fx.symbolic_trace(module.train(mode))
        assert [n.op for n in traced.graph.nodes] == ["placeholder", "call_module", "output"]
        for then in (True, False):
            results = []
            for m in (traced, copy.deepcopy(module)):
                torch.manual_seed(1)
                results.append(m.train(then)(X))
            assert_same(*[[r] for r in results])


def test_who_watches_torch_sees_torch_work():
    """Under a dispatch mode a module leaves the work to torch, which the mode then sees."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    seen, module = [], fastreg.torch.LayerNorm(5)
    with Watch():
        module(torch.ones(2, 5))
    assert any("layer_norm" in name for name in seen), seen
