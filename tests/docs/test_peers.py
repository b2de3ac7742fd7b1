"""The page for those who come from another library: each default and each convention, tried.

A cell's code, ``Name(argument=default, other)``, is compared with the signature of what it names,
in the library of its column where that is installed. Every row of the conventions has a function
here that tries both libraries.
"""

import ast
import importlib
import inspect
import pathlib
import re

import numpy as np
import pytest

import fastreg
from fastreg import nn

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "peers.md"
if not PAGE.exists():
    pytest.skip("the pages are not beside the tests", allow_module_level=True)
PEERS = {"PyTorch": "torch", "Keras": "keras", "Optax": "optax", "scikit-learn": "sklearn"}


def tables():
    """Each table as its header and its rows, lists of cells."""
    found = []
    for line in PAGE.read_text("utf-8").splitlines() + [""]:
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("|"):
            found.append([])
        elif not set(line) <= set("|-"):
            found[-1].append(cells)
    return [(table[0], table[1:]) for table in found if table]


DEFAULTS = [(header, row) for header, rows in tables() if header[0] == "fastreg" for row in rows]
CONVENTIONS = {row[0] for header, rows in tables() if header[0] == "question" for row in rows}
CALLS = [
    (heading, cell)
    for header, row in DEFAULTS
    for heading, cell in zip(header, row, strict=True)
    if cell != "–"
]


def place_of(heading):
    """The package of a column, and where its names are."""
    library, _, module = heading.replace("`", "").partition(", ")
    package = PEERS.get(library, "fastreg")
    return package, module or package


def named(package, module, name):
    """What a name means in a column: from its module, or from the package's top."""
    parts = name.split(".")
    if parts[0] != package or package == "fastreg":  # fastreg.sklearn is fastreg's
        parts = [*module.split("."), *parts]
    thing = importlib.import_module(parts[0])
    for i, part in enumerate(parts[1:], start=2):
        if not hasattr(thing, part):
            importlib.import_module(".".join(parts[:i]))
        thing = getattr(thing, part)
    return thing


def test_the_page_is_read():
    assert len(DEFAULTS) >= 35 and len(CONVENTIONS) >= 15


@pytest.mark.parametrize(("heading", "cell"), CALLS, ids=[f"{h}-{c[:45]}" for h, c in CALLS])
def test_arguments_and_defaults_are_as_written(heading, cell):
    package, module = place_of(heading)
    pytest.importorskip(package)
    assert re.fullmatch("`[^`]+`", cell), "a cell is one call"
    call = ast.parse(cell.strip("`"), mode="eval").body
    thing = named(package, module, ast.unparse(call.func))
    parameters = inspect.signature(thing).parameters
    for argument in call.args:
        assert argument.id in parameters
    for keyword in call.keywords:
        written, default = ast.literal_eval(keyword.value), parameters[keyword.arg].default
        assert default is not inspect.Parameter.empty, keyword.arg
        # fastreg's defaults are floats that know they are defaults; 0 is 0.0, True is not 1.
        same_kind = isinstance(written, bool) == isinstance(default, bool)
        assert default == written and same_kind, f"{keyword.arg} is {default!r}"


def test_scikit_learns_arguments_are_all_there():
    peer = pytest.importorskip("sklearn.neural_network")
    ours = importlib.import_module("fastreg.sklearn")
    for name in ("MLPClassifier", "MLPRegressor"):
        theirs = inspect.signature(getattr(peer, name)).parameters
        own = inspect.signature(getattr(ours, name)).parameters
        for argument, parameter in theirs.items():
            if argument in ("power_t",) and argument not in own:
                continue
            assert own[argument].default == parameter.default, (name, argument)


# --- what the numbers mean ------------------------------------------------------------------------

X = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)


def torch_():
    return pytest.importorskip("torch")


def keras_():
    """Keras where it is installed; without it torch's half of a row is still tried."""
    try:
        return importlib.import_module("keras")
    except ImportError:
        return None


def array(value):
    return np.asarray(value.detach() if hasattr(value, "detach") else value)


def close(a, b):
    np.testing.assert_allclose(array(a), array(b), rtol=2e-5, atol=1e-6)


def tensor(value):
    return torch_().tensor(np.asarray(value), requires_grad=True)


def torch_steps(make, gradients, start=(1.0, -2.0)):
    """The parameters after steps of a torch optimizer with these gradients."""
    torch = torch_()
    p = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = make([p])
    for g in gradients:
        p.grad = torch.tensor(g, dtype=torch.float64)
        optimizer.step()
    return array(p)


def keras_steps(optimizer, gradients, rates=None, start=(1.0, -2.0)):
    keras = keras_()
    p = keras.Variable(np.array(start, np.float32))
    optimizer.build([p])
    for i, g in enumerate(gradients):
        if rates:
            optimizer.learning_rate = rates[i]
        optimizer.apply([keras.ops.convert_to_tensor(np.array(g, np.float32))], [p])
    return keras.ops.convert_to_numpy(p)


def steps(optimizer, gradients, rates=None, start=(1.0, -2.0)):
    p = {"w": np.array(start)}
    for i, g in enumerate(gradients):
        if rates:
            optimizer.lr = rates[i]
        optimizer.update(p, {"w": np.array(g)})
    return p["w"]


GRADIENTS = [(0.3, -0.2), (0.1, 0.4), (-0.5, 0.2)]


def momentum_of_batch_norm():
    own, peer = fastreg.BatchNorm(3), torch_().nn.BatchNorm1d(3)
    own.forward(X), peer(tensor(X))
    close(own.running_mean.ravel(), 0.1 * X.mean(0))
    close(own.running_mean.ravel(), peer.running_mean)
    if keras := keras_():
        other = keras.layers.BatchNormalization()
        other(X, training=True)
        close(other.moving_mean, 0.01 * X.mean(0))


def running_variance_of_batch_norm():
    biased, unbiased = (0.9 + 0.1 * X.var(0, ddof=d) for d in (0, 1))
    own, other = fastreg.BatchNorm(3), fastreg.BatchNorm(3, unbiased_running_var=True)
    peer = torch_().nn.BatchNorm1d(3)
    own.forward(X), other.forward(X), peer(tensor(X))
    close(own.running_var.ravel(), biased)
    close(other.running_var.ravel(), unbiased)
    close(peer.running_var, unbiased)
    if keras := keras_():
        layer = keras.layers.BatchNormalization(momentum=0.9)
        layer(X, training=True)
        close(layer.moving_variance, biased)


def drop_rate():
    ones = np.ones((200, 200), np.float32)
    results = [
        fastreg.Dropout(0.2, rng=0).forward(ones),
        array(torch_().nn.Dropout(0.2)(tensor(ones))),
    ]
    if keras := keras_():
        results.append(array(keras.layers.Dropout(0.2)(ones, training=True)))
    for Y in results:
        assert abs((Y == 0).mean() - 0.2) < 0.02
        close(Y[Y != 0], 1.25)


def weights_of_a_dense_layer():
    own = nn.Dense(3, 2, rng=0)
    close(own.forward(X), X @ own.W + own.b)
    assert own.W.shape == (3, 2)
    assert tuple(torch_().nn.Linear(3, 2).weight.shape) == (2, 3)
    if keras := keras_():
        layer = keras.layers.Dense(2)
        layer.build((None, 3))
        assert tuple(layer.kernel.shape) == (3, 2)


def initial_weights_of_a_dense_layer():
    own, peer = nn.Dense(400, 300, rng=0), torch_().nn.Linear(400, 300)
    assert abs(own.W.std() * np.sqrt(400 / 2) - 1) < 0.02 and not own.b.any()
    assert abs(own.W).max() > 3 * own.W.std(), "normal, not uniform"
    for theirs in (array(peer.weight), array(peer.bias)):
        assert 0.9 / 20 < abs(theirs).max() <= 1 / 20
    if keras := keras_():
        layer = keras.layers.Dense(300)
        layer.build((None, 400))
        limit = np.sqrt(6 / 700)
        assert 0.98 * limit < abs(array(layer.kernel)).max() <= limit * 1.0001
        assert not array(layer.bias).any()


def weight_decay():
    optim = torch_().optim
    own = steps(fastreg.Adam(0.1, weight_decay=0.5), GRADIENTS)
    close(own, torch_steps(lambda p: optim.AdamW(p, lr=0.1, weight_decay=0.5), GRADIENTS))
    coupled = torch_steps(lambda p: optim.Adam(p, lr=0.1, weight_decay=0.5), GRADIENTS)
    close(steps(fastreg.Adam(0.1, lambda_l2=0.5), GRADIENTS), coupled)
    assert abs(own - coupled).max() > 0.01
    sgd = torch_steps(lambda p: optim.SGD(p, lr=0.1, weight_decay=0.5), GRADIENTS)
    close(steps(fastreg.SGD(0.1, lambda_l2=0.5), GRADIENTS), sgd)
    if keras := keras_():
        peer = keras.optimizers.Adam(0.1, weight_decay=0.5, epsilon=1e-8)
        close(keras_steps(peer, GRADIENTS), own)


def l2_penalty():
    w = X.ravel()
    close(fastreg.l2_regularization_loss([X], 0.02), 0.01 * (w**2).sum())
    close(fastreg.l2_gradient(X, 0.02), 0.02 * X)
    if keras := keras_():
        close(keras.regularizers.L2(0.01)(X), fastreg.l2_regularization_loss([X], 0.02))


def alpha_of_scikit_learn():
    peer = pytest.importorskip("sklearn.neural_network").MLPRegressor
    ours = importlib.import_module("fastreg.sklearn").MLPRegressor
    losses = []
    for cls in (ours, peer):
        for alpha in (0.0, 2.0):
            still = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 1e-12, "max_iter": 1}
            net = cls(
                hidden_layer_sizes=(4,), alpha=alpha, batch_size=6, random_state=0, **still
            )  # fmt: skip
            with pytest.warns(Warning, match="(?i)max"):
                net.fit(X.astype(np.float64), X[:, 0].astype(np.float64))
            losses.append(net.loss_)
            weights = net.coefs_
    own, theirs = losses[1] - losses[0], losses[3] - losses[2]
    close(own, theirs)
    close(own, 2.0 / 2 * sum((W**2).sum() for W in weights) / 6)


def epsilon_of(name, **options):
    """A large epsilon tells where it is added."""
    peer = {"AdaGrad": "Adagrad"}.get(name, name)
    own = steps(getattr(fastreg, name)(0.1, epsilon=0.25, **options), GRADIENTS[:1])
    g = np.array(GRADIENTS[0])
    v = g**2 if name == "AdaGrad" else 0.1 * g**2
    inside, outside = (
        [1.0, -2.0] - 0.1 * g / root for root in (np.sqrt(v + 0.25), np.sqrt(v) + 0.25)
    )
    close(own, inside)
    theirs = {} if name == "AdaGrad" else {"alpha": 0.9}
    make = getattr(torch_().optim, peer)
    close(torch_steps(lambda p: make(p, lr=0.1, eps=0.25, **theirs), GRADIENTS[:1]), outside)
    if keras := keras_():
        options = {"initial_accumulator_value": 0.0} if name == "AdaGrad" else {}
        made = getattr(keras.optimizers, peer)(0.1, epsilon=0.25, **options)
        close(keras_steps(made, GRADIENTS[:1]), inside)


def velocity_of_momentum():
    torch, rates = torch_(), [0.1, 0.01, 0.01]
    own = steps(fastreg.Momentum(0.1, 0.9), GRADIENTS, rates)
    p = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=0.1, momentum=0.9)
    for g, rate in zip(GRADIENTS, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        p.grad = torch.tensor(g, dtype=torch.float64)
        optimizer.step()
    close(own, p)
    if keras := keras_():
        theirs = keras_steps(keras.optimizers.SGD(0.1, momentum=0.9), GRADIENTS, rates)
        assert abs(theirs - own).max() > 0.01
        compat = fastreg.Momentum(0.1, 0.9, compat="keras")
        close(theirs, steps(compat, GRADIENTS, rates))


def clipping():
    torch = torch_()
    grads = {"a": np.array([3.0]), "b": np.array([4.0])}
    params = {name: np.zeros(1) for name in grads}
    fastreg.SGD(1.0, clip_norm=1.0).update(params, grads)
    close(np.concatenate([params["a"], params["b"]]), [-0.6, -0.8])
    tensors = [torch.zeros(1, dtype=torch.float64, requires_grad=True) for _ in grads]
    for one, g in zip(tensors, grads.values(), strict=True):
        one.grad = torch.tensor(g)
    torch.nn.utils.clip_grad_norm_(tensors, 1.0)
    close([float(one.grad) for one in tensors], np.array([3.0, 4.0]) / (5 + 1e-6))
    if keras := keras_():
        for options, expected in (({"clipnorm": 1.0}, [-1.0, -1.0]),
                                  ({"global_clipnorm": 1.0}, [-0.6, -0.8])):  # fmt: skip
            both = [keras.Variable(np.zeros(1, np.float32)) for _ in grads]
            sgd = keras.optimizers.SGD(1.0, **options)
            sgd.apply(
                [keras.ops.convert_to_tensor(g.astype(np.float32)) for g in grads.values()], both
            )
            close(np.concatenate([array(one) for one in both]), expected)


def gelu():
    torch = torch_()
    tanh = torch.nn.functional.gelu(torch.tensor(X), approximate="tanh")
    close(nn.GELU().forward(X.copy()), tanh)
    exact = nn.GELU(exact=True).forward(X.copy())
    close(exact, torch.nn.functional.gelu(torch.tensor(X)))
    assert abs(exact - array(tanh)).max() > 1e-5
    if keras := keras_():
        close(
            exact,
            keras.layers.Activation(lambda x: keras.activations.gelu(x, approximate=False))(X),
        )


def logits_or_probabilities():
    labels = np.array([0, 1, 2, 0, 1, 2])
    value, _ = nn.softmax_cross_entropy(X, labels)
    torch = torch_()
    close(value, torch.nn.CrossEntropyLoss()(torch.tensor(X), torch.tensor(labels)))
    if keras := keras_():
        close(value, keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, X))
        p = np.exp(X) / np.exp(X).sum(1, keepdims=True)
        close(value, keras.losses.SparseCategoricalCrossentropy()(labels, p))


def mean_of_a_loss_with_class_weights():
    labels, weights = np.array([0, 1, 2, 0, 1, 0]), np.array([1.0, 2.0, 5.0], np.float32)
    value, _ = nn.softmax_cross_entropy(X, labels, class_weights=weights)
    torch = torch_()
    peer = torch.nn.CrossEntropyLoss(weight=torch.tensor(weights))
    close(value, peer(torch.tensor(X), torch.tensor(labels)))


def patience():
    losses = [1.0, 0.5, 0.6, 0.7, 0.8, 0.9]
    own = fastreg.EarlyStopping(patience=2, verbose=False)
    assert [own(loss) for loss in losses].index(True) == 3
    if keras := keras_():
        peer = keras.callbacks.EarlyStopping(patience=2)
        peer.set_model(type("Model", (), {"stop_training": False, "optimizer": None})())
        peer.on_train_begin()
        ends = []
        for epoch, loss in enumerate(losses):
            peer.on_epoch_end(epoch, {"val_loss": loss})
            ends.append(peer.model.stop_training)
        assert ends.index(True) == 3


def axis_of_channels():
    images = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    Y = fastreg.BatchNorm(3).forward(images)
    close(Y, torch_().nn.BatchNorm2d(3)(tensor(images)))
    last = images.transpose(0, 2, 3, 1).copy()
    close(fastreg.BatchNorm(3, axis=-1).forward(last).transpose(0, 3, 1, 2), Y)
    if keras := keras_():
        layer = keras.layers.BatchNormalization(epsilon=1e-5)
        close(layer(last, training=True), array(Y).transpose(0, 2, 3, 1))


TRIED = {
    "momentum of batch norm": momentum_of_batch_norm,
    "running variance of batch norm": running_variance_of_batch_norm,
    "drop rate": drop_rate,
    "weights of a dense layer": weights_of_a_dense_layer,
    "initial weights of a dense layer": initial_weights_of_a_dense_layer,
    "`weight_decay`": weight_decay,
    "L2 penalty": l2_penalty,
    "`alpha` of scikit-learn": alpha_of_scikit_learn,
    "epsilon of AdaGrad": lambda: epsilon_of("AdaGrad"),
    "epsilon of RMSprop": lambda: epsilon_of("RMSprop"),
    "velocity of momentum": velocity_of_momentum,
    "clipping": clipping,
    "GELU": gelu,
    "logits or probabilities": logits_or_probabilities,
    "mean of a loss with class weights": mean_of_a_loss_with_class_weights,
    "patience": patience,
    "axis of channels": axis_of_channels,
}


def test_every_convention_is_tried():
    assert set(TRIED) == CONVENTIONS


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
@pytest.mark.parametrize("question", TRIED)
def test_a_convention_is_as_written(question):
    TRIED[question]()
