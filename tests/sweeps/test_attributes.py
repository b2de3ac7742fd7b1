"""Whatever is assigned to a public attribute of a layer or an optimizer is refused by name or does
no harm.

Arrays come strided, reversed, read-only, overlapping, too short, empty, of other dtypes; numbers
zero, negative, huge, NaN, of the wrong kind. A kernel may write only into arrays of its own.
"""

import contextlib
from functools import partial

import numpy as np
import pytest

import fastreg
from fastreg import callbacks, nn, schedule
from fastreg.nn import Dense
from fastreg.train import Trainer

DROPS = [name for name in fastreg.__all__ if "Drop" in name or name == "StochasticDepth"]
MAKERS = {
    "Dense": lambda: Dense(3, 3, rng=0, dtype=np.float64),
    "BatchNorm": lambda: fastreg.BatchNorm(3),
    "BatchNorm cumulative": lambda: fastreg.BatchNorm(3, momentum=None),
    "GroupNorm": lambda: fastreg.GroupNorm(1, 3),
    "InstanceNorm": lambda: fastreg.InstanceNorm(3, affine=True),
    "LayerNorm": lambda: fastreg.LayerNorm(3),
    "RMSNorm": lambda: fastreg.RMSNorm(3),
    **{name: getattr(nn, name) for name in nn.activations.__all__},
    **{name: partial(getattr(fastreg, name), rng=0) for name in DROPS},
}
GUARD = 7.0
NUMBERS = [
    *(0, -1, 2, 7, 10**6, 2**40, 2**70, 0.0, 2.0, 0.5, -1e300, 1e-320, float("nan"), float("inf")),
    *("x", None, True, [], [1.0] * 3, 1j, np.float32(0.5), np.array([1.0]), (2, 3)),
]


def arrays(shape):
    """(array, the buffer around it) of every bad layout for an array of this shape."""
    size = int(np.prod(shape))
    steps = tuple(16 * int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))

    def buffer():
        return np.full(4 * size + 8, GUARD)

    def strided(base, strides, first=0):
        return np.lib.stride_tricks.as_strided(base[first:], shape, strides)

    base = buffer()
    yield strided(base, steps), base
    base = buffer()
    yield base[:size][::-1].reshape(shape) if size < 2 else base[: 2 * size : 2][::-1], base
    base = buffer()
    yield strided(base, (0,) * len(shape)), base
    base = buffer()
    yield strided(base, (8,) * len(shape)), base
    for values in (base[: size - 1], base[:0], base[: size + 1], np.ones(shape, ">f8"),
                   np.ones(shape, np.float32), np.ones(shape, int), np.ones(shape, object),
                   np.array(1.0), np.broadcast_to(1.0, shape)):  # fmt: skip
        yield values, base


def attributes(layer):
    return [n for n in dir(layer) if n[0] != "_" and not callable(getattr(layer, n))]


def input_of(name):
    shape = (4, 3, 2) if name in ("InstanceNorm", "SpatialDropout") else (4, 3)
    return np.random.default_rng(0).normal(size=shape)


def values_for(layer, attribute):
    now = getattr(layer, attribute)
    shape = now.shape if isinstance(now, np.ndarray) else (3,)
    yield from ((value, None) for value in NUMBERS)
    yield from arrays(shape)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MAKERS)
def test_no_attribute_makes_a_kernel_write_or_divide_where_it_must_not(name, training):
    X = input_of(name)
    reference = MAKERS[name]()
    reference.backward(reference.forward(X))
    for attribute in attributes(reference):
        for value, base in values_for(reference, attribute):
            layer = MAKERS[name]()
            layer.training = training
            layer.backward(layer.forward(X))
            try:
                setattr(layer, attribute, value)
            except (TypeError, ValueError, AttributeError) as error:
                assert attribute in str(error), (attribute, value)
                continue
            kept = None if base is None else base.copy()
            for method in ("backward", "forward", "backward"):
                try:
                    getattr(layer, method)(X)
                except (TypeError, ValueError) as error:
                    assert type(layer).__name__ in str(error), (attribute, value, error)
            if base is not None:
                np.testing.assert_array_equal(base, kept, err_msg=attribute)


@pytest.mark.parametrize("attribute", ["n_features", "n_groups"])
def test_what_other_attributes_were_cut_to_stays(attribute):
    layer = fastreg.GroupNorm(1, 3)
    with pytest.raises(ValueError, match=f"GroupNorm: {attribute} must stay [13], got 2"):
        setattr(layer, attribute, 2)
    assert (layer.n_groups, layer.n_features) == (1, 3)


@pytest.mark.parametrize(
    "make", [lambda: fastreg.BatchNorm(4), lambda: fastreg.LayerNorm(4), lambda: Dense(4, 4, rng=0)]
)
def test_an_input_that_changes_its_shape_before_backward_is_refused(make):
    layer, X = make(), np.ones((6, 4), np.float32)
    layer.forward(X)
    X.shape = (2, 12)
    with pytest.raises(ValueError, match=type(layer).__name__):
        layer.backward(np.ones((2, 12), np.float32))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_an_output_that_changes_its_shape_before_backward_is_refused(batch_norm):
    model = nn.mlp([4, 6, 3], batch_norm=batch_norm, rng=0)
    block = model._stages[0]
    Y = block.forward(np.ones((8, 4), np.float32))
    Y.shape = (4, 12)
    with pytest.raises(ValueError, match="must"):
        block.backward(np.ones((4, 12), np.float32))


def network():
    return nn.mlp([3, 3, 3], batch_norm=True, dropout=0.5, rng=0, dtype=np.float64)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("place", range(len(network().layers)))
def test_nor_does_one_of_a_layer_in_a_network(place):
    X = input_of("Dense")
    for attribute in attributes(network().layers[place]):
        model = network()
        model.backward(model.forward(X))
        for value, base in values_for(model.layers[place], attribute):
            model = network()
            model.backward(model.forward(X))
            layer = model.layers[place]
            try:
                setattr(layer, attribute, value)
            except (TypeError, ValueError, AttributeError) as error:
                assert attribute in str(error), (attribute, value)
                continue
            kept = None if base is None else base.copy()
            for method in (model.backward, model.forward, model.backward):
                try:
                    method(X)
                except (TypeError, ValueError, RuntimeError) as error:
                    names = {type(one).__name__ for one in (*model.layers, model)}
                    assert any(name in str(error) for name in names), (attribute, value, error)
            if base is not None:
                np.testing.assert_array_equal(base, kept, err_msg=attribute)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", fastreg.optim.__all__)
def test_nor_does_one_of_an_optimizer(name):
    def fresh():
        optimizer, params = getattr(fastreg, name)(), {"w": np.ones((4, 3))}
        optimizer.update(params, {"w": np.ones((4, 3))})
        return optimizer, params

    for attribute in attributes(fresh()[0]):
        for value, base in [*values_for(fresh()[0], attribute), *arrays((4, 3))]:
            for given in (value,) if base is None else (value, {"w": value}):
                optimizer, params = fresh()
                try:
                    setattr(optimizer, attribute, given)
                except (TypeError, ValueError, AttributeError) as error:
                    assert attribute in str(error) or name in str(error), (attribute, given)
                    continue
                kept = None if base is None else base.copy()
                try:
                    optimizer.update(params, {"w": np.ones((4, 3))})
                except (TypeError, ValueError) as error:
                    assert name in str(error), (attribute, given, error)
                if base is not None:
                    np.testing.assert_array_equal(base, kept, err_msg=attribute)


# What holds no kernel of its own: whatever is assigned, no array that it holds is written over ---


def used_penalty(penalty):
    w = np.arange(-6.0, 6.0).reshape(4, 3)
    penalty.value(w), penalty.value_and_gradient(w), penalty.gradient(w), penalty.prox(w)


def used_schedule(made):
    made([0, 3, 5]), made.curve(4)


def used_plateau(plateau):
    for loss in (1.0, 0.5, 0.6, 0.7):
        plateau.update(loss)
    plateau.load_state_dict(plateau.state_dict())


def used_stopping(stopping):
    w = {"w": np.ones((4, 3))}
    for loss in (1.0, 0.5, 0.6, 0.7):
        stopping(loss, w)
    if stopping.best_weights is not None:
        stopping.restore({"w": np.ones((4, 3))})
    stopping.load_state_dict(stopping.state_dict())


def used_trainer(run):
    X, y = np.ones((8, 3)), np.arange(8) % 3
    run.predict(X), run.evaluate(X, y)
    run.fit(X, y, X_val=X, y_val=y, epochs=1, batch_size=4)


def used_callback(callback):
    run = Trainer(nn.mlp([3, 3], rng=0), nn.softmax_cross_entropy, fastreg.SGD(), rng=0,
                  callbacks=[callback], progress=False)  # fmt: skip
    used_trainer(run)


def used_network(model):
    X = input_of("Dense")
    for call in (model.forward, model.backward, model.forward, model.backward):
        call(X)
    model.load_state_dict(model.state_dict())


def trained_network():
    model = network()
    model.backward(model.forward(input_of("Dense")))
    return model


def live():
    return callbacks.LiveDiagnosis(every=1, report=lambda diagnosis: None)


def whole_trainer():
    return Trainer(
        network(), nn.softmax_cross_entropy, fastreg.Adam(), rng=0, progress=False,
        schedule=schedule.constant(0.1), penalties=[fastreg.ElasticNet()],
        early_stopping=fastreg.EarlyStopping(patience=2, verbose=False), callbacks=[live()],
    )  # fmt: skip


HOLDERS = {
    "ElasticNet": (fastreg.ElasticNet, used_penalty),
    "GroupLasso": (fastreg.GroupLasso, used_penalty),
    "Sequential": (trained_network, used_network),
    "Trainer": (whole_trainer, used_trainer),
    "Callback": (callbacks.Callback, used_callback),
    "LiveDiagnosis": (live, used_callback),
    "EarlyStopping": (lambda: fastreg.EarlyStopping(2, verbose=False), used_stopping),
    "ReduceOnPlateau": (lambda: fastreg.ReduceOnPlateau(0.1, patience=1), used_plateau),
    **{
        name: (partial(getattr(schedule, name), *arguments), used_schedule)
        for name, arguments in {
            "constant": (0.1,), "step": (0.1,), "multi_step": (0.1, [2, 4]),
            "linear": (1.0, 0.1, 9), "exponential": (0.1, 0.5), "inverse_time": (0.1, 0.5),
            "polynomial": (1.0, 0.1, 9), "cosine": (0.1, 9), "warm_restarts": (0.1, 3),
            "one_cycle": (0.1, 9),
            "warmup_stable_decay": (0.1, 2, 2, 2), "warmup": (schedule.constant(0.1),),
            "join": ([schedule.constant(0.1), schedule.constant(0.2)], [3]),
        }.items()
    },
}  # fmt: skip
ORDINARY = (TypeError, ValueError, AttributeError, LookupError, RuntimeError, OverflowError)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", HOLDERS)
def test_nor_does_one_of_what_holds_other_parts(name, capsys):
    """Ordinary errors at most, and no array that was assigned is written into."""
    make, use = HOLDERS[name]
    use(make())
    for attribute in attributes(make()):
        shapes = [(3,), (4, 3)]
        values = [(value, None) for value in NUMBERS]
        for value, base in [*values, *(pair for shape in shapes for pair in arrays(shape))]:
            holder = make()
            kept = None if base is None else base.copy()
            with contextlib.suppress(*ORDINARY):
                setattr(holder, attribute, value)
                use(holder)
            if base is not None:
                np.testing.assert_array_equal(base, kept, err_msg=attribute)


def test_how_often_callbacks_act_is_refused_by_name():
    for made in (live(), callbacks.Checkpoint("run.ckpt", every_steps=2)):
        for name in (n for n in attributes(made) if n.startswith("every")):
            for value in (0, -1, 1.5, "x", True):
                with pytest.raises((TypeError, ValueError), match=f"{type(made).__name__}: {name}"):
                    setattr(made, name, value)


@pytest.mark.parametrize("name", [n for n in HOLDERS if n in schedule.__all__])
def test_a_schedule_stays_as_it_was_made(name):
    made = HOLDERS[name][0]()
    for attribute in attributes(made):
        with pytest.raises(AttributeError, match=attribute):
            setattr(made, attribute, 0.5)


def test_settings_of_penalties_and_plateaus_are_refused_by_name():
    for name in ("ElasticNet", "GroupLasso", "EarlyStopping", "ReduceOnPlateau"):
        make, _ = HOLDERS[name]
        for attribute in attributes(make()):
            if attribute.startswith(("lambda", "patience", "min_", "factor", "cooldown")):
                for value in (-1, "x", float("nan"), np.ones(3), -1e300):
                    with pytest.raises((TypeError, ValueError), match=f"{name}: {attribute}"):
                        setattr(make(), attribute, value)
