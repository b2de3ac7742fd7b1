"""Networks as torch modules and back: outputs, gradients, modes, state dicts, refusals."""

import harness
import numpy as np
import pytest

import fastreg
from fastreg import export, nn

torch = pytest.importorskip("torch")

WIDTH = 6
LAYERS = {
    "Dense": lambda t: nn.Dense(WIDTH, 4, rng=0, dtype=t),
    "Dense without bias": lambda t: nn.Dense(WIDTH, 4, rng=0, dtype=t, bias=False),
    "ReLU": lambda t: nn.ReLU(),
    "LeakyReLU": lambda t: nn.LeakyReLU(0.3),
    "Tanh": lambda t: nn.Tanh(),
    "Sigmoid": lambda t: nn.Sigmoid(),
    "GELU": lambda t: nn.GELU(),
    "exact GELU": lambda t: nn.GELU(exact=True),
    "BatchNorm": lambda t: fastreg.BatchNorm(WIDTH, 0.7, 1e-3),
    "averaging BatchNorm": lambda t: fastreg.BatchNorm(WIDTH, None, unbiased_running_var=True),
    "plain BatchNorm": lambda t: fastreg.BatchNorm(WIDTH, affine=False),
    "untracked BatchNorm": lambda t: fastreg.BatchNorm(WIDTH, track_running_stats=False),
    "LayerNorm": lambda t: fastreg.LayerNorm(WIDTH, 1e-3),
    "plain LayerNorm": lambda t: fastreg.LayerNorm((WIDTH,), affine=False),
    "RMSNorm": lambda t: fastreg.RMSNorm(WIDTH, 1e-3),
    "GroupNorm": lambda t: fastreg.GroupNorm(2, WIDTH),
    "Dropout": lambda t: fastreg.Dropout(0.3, rng=0),
    "AlphaDropout": lambda t: fastreg.AlphaDropout(0.3, rng=0),
}


def network(kind, dtype, rng):
    """A layer after a dense one, so that it has a dtype, with parameters that are not the first."""
    model = nn.Sequential([nn.Dense(WIDTH, WIDTH, rng=1, dtype=dtype), LAYERS[kind](dtype)])
    model.train()
    model.forward(rng.normal(size=(20, WIDTH)).astype(dtype))
    for array in model.params.values():
        array += rng.normal(size=array.shape).astype(array.dtype) / 4
    return model


def both(model, module, X):
    dtype = X.dtype
    tolerance = {"rtol": 200 * np.finfo(dtype).eps, "atol": 20 * np.finfo(dtype).eps}
    Y, x = model.forward(X), torch.tensor(X, requires_grad=True)
    y = module(x)
    np.testing.assert_allclose(Y, y.detach().numpy(), **tolerance)
    dY = np.cos(np.arange(Y.size)).reshape(Y.shape).astype(dtype)
    dX = model.backward(dY)
    y.backward(torch.tensor(dY))
    np.testing.assert_allclose(dX, x.grad.numpy(), **tolerance)


@pytest.mark.parametrize("kind", LAYERS)
def test_modules_do_what_layers_do_and_come_back(kind, dtype, fixed_rng):
    model = network(kind, dtype, fixed_rng)
    module = export.torch(model)
    assert all(one.training for one in module.modules())
    X = fixed_rng.normal(size=(9, WIDTH)).astype(dtype)
    assert {p.dtype for p in module.parameters()} == {torch.from_numpy(X).dtype}
    if "Dropout" not in kind:
        both(model, module, X)
        module = export.torch(model)  # without what that forward pass moved
    back = export.from_torch(module)
    assert back.training and back.layers[1].training
    assert type(back.layers[1]) is type(model.layers[1])
    for name, array in model.arrays.items():
        assert (array.astype(dtype) == back.arrays[name]).all() and back.arrays[name].dtype == dtype
        assert not np.shares_memory(array, back.arrays[name])
    model.eval(), module.eval()
    back = export.from_torch(module)
    assert not back.training and not back.layers[1].training
    both(model, module, X)
    both(back, module, X)
    again = export.torch(back)
    assert not any(one.training for one in again.modules())
    assert str(again) == str(module)
    for name, tensor in module.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


@pytest.mark.parametrize("batches", [1, 5])
def test_batch_norm_goes_on_training_as_torchs(batches, fixed_rng):
    module = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.BatchNorm1d(WIDTH))
    module = module.double()
    model = export.from_torch(module)
    for _ in range(batches):
        X = fixed_rng.normal(size=(9, WIDTH))
        both(model, module, X)
    found = export.torch_state(model)
    assert list(found) == list(module.state_dict())
    for name, tensor in module.state_dict().items():
        np.testing.assert_allclose(found[name], tensor, rtol=1e-12, err_msg=name)
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape


def test_a_frozen_layer_stays_in_its_mode():
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2), torch.nn.ReLU())
    module[1].eval()
    model = export.from_torch(module)
    assert [layer.training for layer in model.layers] == [True, False, True]
    assert [one.training for one in export.torch(model)] == [True, False, True]


def test_networks_in_networks_are_joined_and_identity_is_left_out(fixed_rng):
    inner = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh())
    relu = torch.nn.ReLU()
    module = torch.nn.Sequential(inner, torch.nn.Identity(), relu, torch.nn.Linear(3, 2), relu)
    model = export.from_torch(module.double())
    names = [type(layer).__name__ for layer in model.layers]
    assert names == ["Dense", "Tanh", "ReLU", "Dense", "ReLU"]
    both(model, module, fixed_rng.normal(size=(5, 3)))
    nested = nn.Sequential([nn.Sequential([nn.Dense(3, 3, rng=0), nn.Tanh()]), nn.ReLU()])
    assert [type(one).__name__ for one in export.torch(nested)] == ["Linear", "Tanh", "ReLU"]
    assert len(export.from_torch(torch.nn.Linear(2, 3)).layers) == 1


def test_accelerated_modules_come_back():
    import fastreg.torch

    module = torch.nn.Sequential(
        torch.nn.Linear(2, 2), torch.nn.LayerNorm(2), torch.nn.Dropout(0.1)
    )
    fastreg.torch.accelerate(module)
    names = [type(layer).__name__ for layer in export.from_torch(module).layers]
    assert names == ["Dense", "LayerNorm", "Dropout"]


@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_state_dicts_go_both_ways(backend, fixed_rng):
    first = nn.mlp([4, 5, 3], norm="batch", dropout=0.1, rng=0, backend=backend)
    second = nn.mlp([4, 5, 3], norm="batch", dropout=0.1, rng=1, backend=backend)
    for _ in range(2):
        first.forward(fixed_rng.normal(size=(8, 4)).astype("f4"))
    module = export.torch(second)
    module.load_state_dict(export.torch_state(first))
    export.load_torch_state(second, module.state_dict())
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(second.arrays[name], array.astype("f4"))
    if backend == "fast":  # its twin does not count
        assert first.layers[1].batches == second.layers[1].batches == 2


def test_a_state_dict_that_does_not_fit_changes_nothing():
    model = nn.mlp([4, 5, 3], rng=0)
    state = export.torch_state(model)
    state["0.weight"] = torch.zeros(4, 5)
    state["9.bias"] = state.pop("0.bias")
    before = model.state_dict()
    with pytest.raises(
        ValueError,
        match=r"0.bias is missing; 9.bias is not in the network; "
        r"0.weight has shape \(4, 5\), not \(5, 4\)",
    ):
        export.load_torch_state(model, state)
    harness.same_states(model.state_dict(), before)
    for bad in ([1], {"0.weight": "x", "0.bias": 0, "2.weight": 0, "2.bias": 0}):
        with pytest.raises(TypeError, match="load_torch_state: state"):
            export.load_torch_state(model, bad)


class Own(nn.ReLU):
    """A layer of one's own."""


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Own(), "layer 1 has no equal in torch, .*Own"),
        (fastreg.Dropout(0.5, inverted=False), "layer 1, a Dropout, .*inverted must be True"),
        (fastreg.Dropout(0.5, noise_shape=(None, 1)), "layer 1, a Dropout, .*noise_shape"),
        (fastreg.GaussianDropout(0.5), "layer 1 has no equal in torch"),
    ],
)
def test_layers_without_an_equal_are_named(layer, message):
    with pytest.raises(TypeError, match=f"torch: {message}"):
        export.torch(nn.Sequential([nn.Dense(2, 2, rng=0), layer]))


class Mine(torch.nn.ReLU):
    """A module of one's own, whose forward may be anything."""


LINEAR = torch.nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (torch.nn.Sequential(LINEAR, torch.nn.Softmax(1)), TypeError, "module 1 .*Softmax"),
        (torch.nn.Sequential(torch.nn.Sequential(Mine())), TypeError, "module 0.0 .*a Mine"),
        (torch.nn.Conv1d(1, 1, 1), TypeError, "the module has no equal in fastreg, a Conv1d"),
        (torch.nn.Sequential(LINEAR, LINEAR), ValueError, "module 1 is used twice"),
        (
            torch.nn.Linear(2, 2).half(),
            ValueError,
            "the module must be of float.* got torch.float16",
        ),
        (torch.nn.Sequential(), TypeError, "module must have a layer"),
        (3, TypeError, "module must be a torch.nn.Module, got 3"),
    ],
)
def test_modules_without_an_equal_are_named(module, error, message):
    with pytest.raises(error, match=f"from_torch: {message}"):
        export.from_torch(module)


def tied():
    first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    second.weight = first.weight
    return torch.nn.Sequential(first, second)


def hooked(kind="forward"):
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    getattr(module[0], f"register_{kind}_hook")(lambda *given: None)
    return module


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (tied, ValueError, "module 1 is used twice, or has parameters of another"),
        (hooked, TypeError, "module 0 has no equal in fastreg, it has hooks"),
        (
            lambda: hooked("forward_pre"),
            TypeError,
            "module 0 has no equal in fastreg, it has hooks",
        ),
        (
            lambda: torch.nn.Linear(2, 2, device="meta"),
            ValueError,
            "the module must be of float.*, got no data",
        ),
        (
            lambda: torch.nn.LayerNorm(4, eps=0.0),
            TypeError,
            "the module, a LayerNorm, has no equal in fastreg: .*epsilon",
        ),
    ],
)
def test_modules_that_are_not_what_their_class_says_are_refused(make, error, message):
    with pytest.raises(error, match=f"from_torch: {message}"):
        export.from_torch(make())


@pytest.mark.parametrize("count", [[1, 2], -1, float("nan"), 1.5])
def test_a_count_of_batches_that_is_none_is_named(count):
    model = nn.mlp([4, 5, 3], norm="batch", rng=0)
    state = export.torch_state(model) | {"1.num_batches_tracked": torch.tensor(count)}
    with pytest.raises(ValueError, match=r"load_torch_state: .*1.num_batches_tracked must be one"):
        export.load_torch_state(model, state)


@pytest.mark.parametrize("change", [lambda t: t.bfloat16(), lambda t: t.to_sparse()])
def test_tensors_that_numpy_does_not_know_are_read(change):
    model = nn.mlp([4, 3], rng=0)
    state = export.torch_state(model)
    state["0.weight"] = change(state["0.weight"])
    export.load_torch_state(model, state)
    wanted = state["0.weight"].to_dense().float().numpy().T
    assert (model.params["0.W"] == wanted).all()


class Residual(nn.Sequential):
    """A network whose forward pass is its own."""

    def forward(self, X):
        return X + super().forward(X)


def test_a_network_with_a_forward_pass_of_its_own_is_refused(tmp_path):
    model = Residual([nn.Dense(2, 2, rng=0)])
    with pytest.raises(TypeError, match="torch: model must be its layers .*Residual"):
        export.torch(model)
    with pytest.raises(TypeError, match="onnx: model must be its layers .*Residual"):
        export.onnx(model, tmp_path / "model.onnx")
