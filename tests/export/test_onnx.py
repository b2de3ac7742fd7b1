"""ONNX files say what the network does in inference: by onnxruntime and by ONNX's reference."""

import subprocess
import sys

import numpy as np
import pytest

import fastreg
from fastreg import export, nn

onnx = pytest.importorskip("onnx")


def run(path, X, runtime=True):
    """The outputs of a file, by onnxruntime or by the evaluator that comes with onnx."""
    if runtime:
        session = pytest.importorskip("onnxruntime").InferenceSession(
            path, providers=["CPUExecutionProvider"]
        )
        return session.run(None, {"X": X})[0]
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(path).run(None, {"X": X})[0]


def moved(model, rng, width):
    """The network with parameters and running statistics that are not the first."""
    model.train()
    for _ in range(3):
        model.forward((2 + 3 * rng.normal(size=(30, width))).astype(model.dtype))
    for array in model.params.values():
        array += rng.normal(size=array.shape).astype(array.dtype) / 4
    return model


@pytest.mark.parametrize("runtime", [True, False], ids=["onnxruntime", "evaluator"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid", "gelu"])
@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_whole_networks(norm, activation, runtime, tmp_path, fixed_rng):
    model = nn.mlp(
        [7, 33, 20, 4], activation=activation, norm=norm, dropout=0.3, input_dropout=0.1, rng=0
    )
    moved(model, fixed_rng, 7)
    path = str(tmp_path / "model.onnx")
    export.onnx(model, path)
    assert model.training  # as it was
    model.eval()
    for rows in (1, 5, 100):  # the batch is left open
        X = fixed_rng.normal(size=(rows, 7)).astype("f4")
        Y = model.forward(X)
        np.testing.assert_allclose(run(path, X, runtime), Y, rtol=2e-5, atol=2e-6 * np.abs(Y).max())
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert kinds.isdisjoint({"BatchNormalization", "Dropout", "Mul"})  # folded, gone


ENDS = {
    "exact GELU": lambda: [nn.GELU(exact=True)],
    "RMSNorm": lambda: [fastreg.RMSNorm(6, 1e-3), nn.Tanh()],
    "plain RMSNorm": lambda: [fastreg.RMSNorm((6,), affine=False)],
    "plain LayerNorm": lambda: [fastreg.LayerNorm(6, 1e-2, affine=False)],
    "late BatchNorm": lambda: [nn.ReLU(), fastreg.BatchNorm(6), nn.Dense(6, 2, rng=3)],
    "two BatchNorms": lambda: [fastreg.BatchNorm(6), fastreg.BatchNorm(6, affine=False)],
    "old dropout": lambda: [fastreg.Dropout(0.25, inverted=False)],
    "other noise": lambda: [fastreg.GaussianDropout(0.3), fastreg.AlphaDropout(0.3)],
    "without bias": lambda: [nn.ReLU(), nn.Dense(6, 2, rng=3, bias=False)],
    "a network": lambda: [nn.Sequential([nn.ReLU(), nn.Dense(6, 2, rng=3)]), nn.Sigmoid()],
}


@pytest.mark.parametrize("kind", ENDS)
def test_layers(kind, tmp_path, fixed_rng):
    model = moved(nn.Sequential([nn.Dense(4, 6, rng=0), *ENDS[kind]()]), fixed_rng, 4)
    path = str(tmp_path / "model.onnx")
    export.onnx(model, path)
    model.eval()
    X = (2 * fixed_rng.normal(size=(11, 4))).astype("f4")
    np.testing.assert_allclose(run(path, X), model.forward(X), rtol=2e-5, atol=5e-6)


def test_a_norm_alone_and_a_network_that_does_nothing(tmp_path, fixed_rng):
    X = fixed_rng.normal(size=(5, 3)).astype("f4")
    for name, layers in {"norm": [fastreg.BatchNorm(3)], "none": [fastreg.Dropout(0.5)]}.items():
        model = moved(nn.Sequential(layers), fixed_rng, 3) if name == "norm" else None
        model = model or nn.Sequential(layers)
        export.onnx(model, tmp_path / name)
        model.eval()
        np.testing.assert_allclose(run(str(tmp_path / name), X), model.forward(X), rtol=1e-5)


def test_float64_keeps_its_digits(tmp_path, fixed_rng):
    model = nn.mlp([4, 9, 2], norm="batch", activation="tanh", dtype="float64", rng=0)
    moved(model, fixed_rng, 4)
    export.onnx(model, tmp_path / "model.onnx")
    model.eval()
    X = fixed_rng.normal(size=(7, 4))
    found = run(str(tmp_path / "model.onnx"), X)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, model.forward(X), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("link", ["softmax", "sigmoid", "log"])
def test_links_give_probabilities_and_means(link, tmp_path, fixed_rng):
    model, X = nn.mlp([4, 8, 3], rng=0), fixed_rng.normal(size=(6, 4)).astype("f4")
    export.onnx(model, tmp_path / "model.onnx", link=link)
    Z = model.forward(X).astype(float)
    wanted = {"softmax": np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True),
              "sigmoid": 1 / (1 + np.exp(-Z)), "log": np.exp(Z)}[link]  # fmt: skip
    np.testing.assert_allclose(run(str(tmp_path / "model.onnx"), X), wanted, rtol=1e-5)


def test_the_reference_is_expressed_too(tmp_path, fixed_rng):
    options = {"norm": "batch", "activation": "gelu", "dropout": 0.5, "rng": 0}
    files = []
    for backend in ("fast", "reference"):
        export.onnx(nn.mlp([4, 8, 3], backend=backend, **options), tmp_path / backend)
        files.append((tmp_path / backend).read_bytes())
    assert files[0] == files[1]


def test_a_fitted_estimator_gives_its_network(tmp_path, fixed_rng):
    pytest.importorskip("sklearn")
    from fastreg.sklearn import MLPClassifier

    X, y = fixed_rng.normal(size=(120, 4)), fixed_rng.integers(0, 3, 120)
    net = MLPClassifier(
        (16,), norm="batch", dropout=0.2, max_iter=3, random_state=0, dtype="float32"
    )
    with pytest.warns(Warning, match="Maximum iterations"):
        net.fit(X, y)
    export.onnx(net.network_, tmp_path / "model.onnx", link="softmax")
    found = run(str(tmp_path / "model.onnx"), X.astype("f4"))
    np.testing.assert_allclose(found, net.predict_proba(X), rtol=1e-4, atol=1e-6)


class Swish(nn.Sigmoid):
    """A layer of one's own."""


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Swish(), "layer 1 cannot be expressed, .*Swish"),
        (fastreg.GroupNorm(2, 4), "layer 1 cannot be expressed, .*GroupNorm"),
        (fastreg.BatchNorm(4, track_running_stats=False), "layer 1 .*track_running_stats=False"),
        (
            fastreg.LayerNorm((2, 4)),
            r"layer1 cannot be expressed, its rows have the shape \(2, 4\)",
        ),
    ],
)
def test_layers_that_cannot_be_expressed_are_named_and_no_file_is_written(layer, message, tmp_path):
    with pytest.raises(TypeError, match=f"onnx: {message}"):
        export.onnx(nn.Sequential([nn.Dense(4, 4, rng=0), layer]), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(TypeError, match="onnx: model must be a fastreg.nn.Sequential"):
        export.onnx(3, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="onnx: link must be one of identity, log"):
        export.onnx(nn.mlp([1, 1]), tmp_path / "model.onnx", link="probit")
    with pytest.raises(TypeError, match="onnx: path must be"):
        export.onnx(nn.mlp([1, 1]), 3)


def test_importing_the_module_imports_neither_onnx_nor_torch():
    code = "import sys, fastreg.export; print(not {'onnx', 'torch'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True"


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    for name, call in {
        "onnx": lambda: export.onnx(nn.mlp([1, 1]), tmp_path / "model.onnx"),
        "torch": lambda: export.torch(nn.mlp([1, 1])),
    }.items():
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ImportError, match=rf"needs {name}; install fastreg\[{name}\]"):
            call()
