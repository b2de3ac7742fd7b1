"""State in bfloat16: the twin's bits, the mean of what is drawn, states and files."""

import copy
import tracemalloc

import harness
import numpy as np
import pytest
from optim.test_rules import RULES, SERVICES, VARIANTS, same_from_here, same_steps
from train.runs import blobs, everything, network, trainer

import fastreg
from fastreg import checkpoint, optim, reference

NARROW = {"state_dtype": "bfloat16", "rng": 7}
SLOW = [
    ("Momentum", {"momentum": 0.995}),
    ("Momentum", {"momentum": 0.995, "nesterov": True}),
    ("RMSprop", {"momentum": 0.995}),
    ("Adam", {"beta1": 0.995}),
    ("Adam", {"beta1": 0.995, "amsgrad": True}),
    ("Adamax", {"beta1": 0.995}),
    ("Lion", {"beta2": 0.995}),
    ("Adan", {"beta2": 0.995}),
    ("LAMB", {"beta1": 0.995}),
    ("LARS", {"momentum": 0.995}),
]


def wide(halves):
    return (halves.astype(np.uint32) << np.uint32(16)).view(np.float32)


def same_slots(fast, slow):
    for k, known in enumerate(slow.state.values()):
        for name, state in known.items():
            mine, theirs = fast._updater.slot(k)[name], np.asarray(state)
            assert mine.dtype == theirs.dtype
            if mine.dtype == np.uint16:
                mine, theirs = wide(mine), wide(theirs)
            harness.same_bits(mine, theirs)
    for name, average in slow.ema.items():
        harness.same_bits(fast.ema[name], np.asarray(average))


@pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide):RuntimeWarning")
@pytest.mark.parametrize(("rule", "options"), [*VARIANTS, *SLOW])
def test_same_bits_as_reference(rule, options, level, guarded, rng):
    """All sizes, magnitudes and special values, on one thread and on three."""
    fast, slow = (
        getattr(library, rule)(learning_rate=0.01, **options, **NARROW)
        for library in (optim, reference)
    )
    same_steps(fast, slow, guarded, rng, np.float32, 4)
    same_slots(fast, slow)


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
@pytest.mark.parametrize("rule", ["AdamW", "Momentum", "LAMB"])
def test_services_have_the_reference_bits(rule, service, rng):
    options = {"learning_rate": 0.01} | service | NARROW
    fast, slow = (getattr(library, rule)(**options) for library in (optim, reference))
    shapes = (300,), (7, 131), (1,), (3, 5, 17)
    params = {str(i): rng.normal(size=shape).astype("f4") for i, shape in enumerate(shapes)}
    params["F"] = np.asfortranarray(rng.normal(size=(9, 40)).astype("f4"))
    expected = copy.deepcopy(params)
    for _ in range(3):
        grads = {name: rng.normal(size=p.shape).astype("f4") for name, p in params.items()}
        fast.update(params, grads)
        slow.update(expected, grads)
    for name, wanted in expected.items():
        harness.same_bits(params[name], wanted)
    same_slots(fast, slow)


def relative_drift(round_to):
    """Of a mean square of gradients that are all 1, after 2000 steps of decay 0.999."""
    v = np.zeros(4096, np.float32)
    for step in range(2000):
        v = round_to(np.float32(0.999) * v + np.float32(0.001), step)
    return float(v.astype(np.float64).mean() / (1 - 0.999**2000) - 1)


def test_what_is_drawn_is_right_in_the_mean_and_the_nearest_is_not():
    """The planted fault, a second moment rounded to the nearest, is found by the same measure."""
    optimizer = fastreg.Adam(0.0, **NARROW)
    params, grads = {"w": np.zeros(4096, "f4")}, {"w": np.ones(4096, "f4")}
    for _ in range(2000):
        optimizer.update(params, grads)
    v = wide(optimizer.v["w"]).astype(np.float64)
    assert abs(v.mean() / (1 - 0.999**2000) - 1) < 2e-3  # a deviation of it is 4e-4
    twin = relative_drift(lambda v, _: wide(reference.narrow.narrowed(v)))
    assert twin < -0.2
    drawn = relative_drift(
        lambda v, t: wide(reference.narrow.narrowed(v, reference.narrow.pieces_of(0, t, 0, v.size)))
    )
    harness_v = (1 - 0.999**2000) * (1 + drawn)
    assert abs(harness_v - v.mean()) < 3e-3


@pytest.mark.parametrize(
    ("rule", "options"), [("Adam", {"beta1": 0.999}), ("Lion", {"beta2": 0.999})]
)
def test_a_slow_first_moment_moves(rule, options):
    optimizer = getattr(optim, rule)(0.0, **options, **NARROW)
    params, grads = {"w": np.zeros(4096, "f4")}, {"w": np.ones(4096, "f4")}
    for _ in range(2000):
        optimizer.update(params, grads)
    m = wide(optimizer.m["w"]).astype(np.float64)
    assert abs(m.mean() / (1 - 0.999**2000) - 1) < 2e-3  # to the nearest it would stay at 0.25


def test_a_hundred_thousand_steps_do_not_drift(rng):
    """Mean squares stay at those of float64, and parameters keep to those of a float32 state."""
    grads = [{"w": rng.normal(size=512).astype("f4")} for _ in range(64)]
    narrow, full = fastreg.Adam(1e-5, **NARROW), fastreg.Adam(1e-5)
    ours, theirs = {"w": np.zeros(512, "f4")}, {"w": np.zeros(512, "f4")}
    exact = np.zeros(512)
    squares = [grad["w"].astype(np.float64) ** 2 for grad in grads]
    relative = []
    for step in range(100_000):
        narrow.update(ours, grads[step % 64])
        full.update(theirs, grads[step % 64])
        exact += 0.001 * (squares[step % 64] - exact)
        if step % 1000 == 999:
            relative.append((wide(narrow.v["w"]) / exact).mean() - 1)
    assert abs(np.mean(relative[:50])) < 3e-3  # a deviation of either mean is 5e-4
    assert abs(np.mean(relative[50:])) < 3e-3
    far = np.abs(ours["w"] - theirs["w"]).max() / np.abs(theirs["w"]).max()
    assert far < 0.05


@pytest.mark.parametrize(
    ("word", "words"),
    [
        (0, (0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48)),
        (0xFFFFFFFF, (0x5207DDC2, 0x45165E59, 0x4D8EE751, 0x8C52F662)),
    ],
)
def test_seven_rounds_of_philox_are_those_of_random123(word, words):
    counter = np.full(4, word, np.uint64)
    found = reference.philox4x32(counter, counter[:2], rounds=7)
    assert tuple(int(each) for each in found) == words


def test_each_rounding_is_up_as_often_as_what_is_cut_off_says():
    x = np.full(1 << 16, 1 + 0.3 * 2.0**-7, np.float32)
    up = reference.narrow.narrowed(x, reference.narrow.pieces_of(5, 3, 0, x.size)) > 0x3F80
    assert abs(up.mean() - 0.3) < 5 * np.sqrt(0.21 / x.size)
    pieces = reference.narrow.pieces_of(5, 3, 0, 1 << 16).astype(np.float64)
    following = reference.narrow.pieces_of(5, 4, 0, 1 << 16).astype(np.float64)
    for other in (np.roll(pieces, 1), following):
        assert abs(np.corrcoef(pieces, other)[0, 1]) < 5 / 256


def test_numbers_at_the_ends_of_the_range_round_as_they_should():
    x = np.array([3.4e38, -3.4e38, np.inf, -np.inf, 1e-45, -0.0, 1 + 2**-8, 1 + 3 * 2**-8], "f4")
    expected = [0x7F7F, 0xFF7F, 0x7F80, 0xFF80, 0, 0x8000, 0x3F80, 0x3F82]  # 0 * 0 + -0 is 0
    optimizer = fastreg.Momentum(0.0, momentum=0.0, state_dtype="bfloat16")
    optimizer.update({"w": np.zeros_like(x)}, {"w": x})
    np.testing.assert_array_equal(optimizer.v["w"], np.array([*expected[:5], 0, *expected[6:]]))
    optimizer.v = {"w": x}
    np.testing.assert_array_equal(optimizer.v["w"], np.array(expected, np.uint16))


@pytest.mark.parametrize("rule", RULES)
def test_a_copy_a_pickle_and_a_state_continue_bit_for_bit(rule, rng, tmp_path):
    optimizer = getattr(optim, rule)(0.01, **NARROW)
    params = {"w": rng.normal(size=700).astype("f4")}
    grads = [{"w": rng.normal(size=700).astype("f4")} for _ in range(4)]
    for grad in grads[:2]:
        optimizer.update(params, grad)
    loaded = getattr(optim, rule)(0.5, state_dtype="bfloat16")
    checkpoint.save(tmp_path / "state.ckpt", optimizer.state_dict())
    loaded.load_state_dict(checkpoint.load(tmp_path / "state.ckpt"))
    same_from_here(optimizer, loaded, params, grads[2:])
    assert "state=bfloat16" in repr(loaded)


@pytest.mark.parametrize("rule", RULES)
def test_states_are_converted_in_both_directions(rule, rng):
    narrow, full = getattr(optim, rule)(0.01, **NARROW), getattr(optim, rule)(0.01)
    params, grads = {"w": rng.normal(size=90).astype("f4")}, {"w": rng.normal(size=90).astype("f4")}
    full.update(params, grads)
    narrow.load_state_dict(full.state_dict())
    again = getattr(optim, rule)(0.01)
    again.load_state_dict(narrow.state_dict())
    for key, value in again.state_dict().items():
        if isinstance(value, np.ndarray):
            np.testing.assert_allclose(value, full.state_dict()[key], rtol=2**-8)
            assert value.dtype == np.float32
    narrow.update(params, grads)
    again.update(params, grads)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="Adam: state_dtype must be"):
        fastreg.Adam(state_dtype="float16")
    with pytest.raises(ValueError, match="Adam: rng must be"):
        fastreg.Adam(rng=-1)
    params = {"a": np.ones(3, "f4"), "w": np.ones(3)}
    for optimizer in (fastreg.Adam(**NARROW), fastreg.SGD(**NARROW)):
        with pytest.raises(TypeError, match=r"params\['w'\] must be float32 where state_dtype"):
            optimizer.update(params, {"a": np.ones(3, "f4"), "w": np.ones(3)})
        assert (params["a"] == 1).all()
    optimizer = fastreg.Adam()
    optimizer.update({"w": np.ones(3)}, {"w": np.ones(3)})
    with pytest.raises(TypeError, match="must be float32 where state_dtype"):
        fastreg.Adam(**NARROW).load_state_dict(optimizer.state_dict())


def test_the_state_takes_half_the_bytes():
    params, grads, held = {"w": np.ones(1 << 20, "f4")}, {"w": np.ones(1 << 20, "f4")}, []
    for optimizer in (fastreg.Adam(**NARROW), fastreg.Adam()):
        tracemalloc.start()
        optimizer.update(params, grads)
        held.append(tracemalloc.get_traced_memory()[0])
        assert tracemalloc.get_traced_memory()[1] < held[-1] + 1e5
        tracemalloc.stop()
    assert abs(held[0] - 4 * (1 << 20)) < 1e5 and abs(held[1] - 8 * (1 << 20)) < 1e5


def drawn(**options):
    """The second moments that one step leaves."""
    optimizer = fastreg.Adam(state_dtype="bfloat16", **options)
    optimizer.update({"w": np.ones(500, "f4")}, {"w": np.linspace(1, 2, 500, dtype="f4")})
    return optimizer.v["w"].tobytes()


def test_seeds_are_what_they_are_elsewhere():
    assert drawn(rng=3) == drawn(rng=np.random.default_rng(3)) != drawn(rng=4)
    np.random.seed(42)
    first = drawn()
    np.random.seed(42)
    fastreg.Adam(), fastreg.Adam(rng=5)  # neither draws anything from NumPy's global state
    assert drawn() == first != drawn()


def test_a_state_that_is_refused_leaves_the_seed_alone():
    optimizer, other = fastreg.Adam(**NARROW), fastreg.Adam(state_dtype="bfloat16", rng=8)
    state = other.state_dict()
    key = optimizer.state_dict()["state_key"]
    for wrong in ({"t": -1}, {"state_key": -1}, {"state_key": 2**64}, {"state_dtype": "float16"}):
        with pytest.raises(ValueError, match="Adam.load_state_dict"):
            optimizer.load_state_dict(state | wrong)
    assert optimizer.state_dict()["state_key"] == key != state["state_key"]
    with pytest.raises(TypeError, match="state_key"):
        optimizer.load_state_dict({k: v for k, v in state.items() if k != "state_key"})


def goes_on(before, after, tmp_path, rtol):
    """A run goes on bit for bit with the same state, and close to it with another."""

    def made(kind, seed=0):
        model = network(dtype="float32")
        norm = model.layers[1]
        norm.gamma, norm.beta = norm.gamma.astype("f4"), norm.beta.astype("f4")
        return trainer(model=model, optimizer=fastreg.Adam(0.01, state_dtype=kind, rng=seed))

    whole, half, other = made(before), made(before), made(after, 1)
    for run, epochs in ((whole, 6), (half, 3)):
        run.fit(*blobs(), epochs=epochs, batch_size=32)
    half.save(tmp_path / "run.ckpt")
    other.fit(*blobs(), epochs=6, batch_size=32, resume_from=tmp_path / "run.ckpt")
    if before == after:
        assert everything(other) == everything(whole)
    dtype = {None: np.float32, "bfloat16": np.uint16, "int8": np.uint8}[after]
    assert all(v.dtype == dtype for v in other.optimizer.v.values())
    mine, theirs = (run.history["loss"] for run in (other, whole))
    np.testing.assert_allclose(mine, theirs, rtol=rtol)


@pytest.mark.parametrize("before", [None, "bfloat16"])
@pytest.mark.parametrize("after", [None, "bfloat16"])
def test_a_run_goes_on_with_either_state(before, after, tmp_path):
    goes_on(before, after, tmp_path, rtol=0.02)


@pytest.mark.parametrize("kind", ["bfloat16", "int8", "parameters"])
def test_parts_of_parameters_draw_as_the_whole_ones_do(kind, rng):
    """`places` says where each begins among all elements; tensors begin at multiples of 64."""
    dtype = np.float16 if kind == "parameters" else np.float32
    state_dtype = None if kind == "parameters" else kind

    def made():
        return fastreg.Adam(0.01, state_dtype=state_dtype, rng=7)

    sizes = {"a": 100, "w": 40000, "b": 70}
    params = {name: rng.standard_normal(n).astype(dtype) for name, n in sizes.items()}
    cuts = [{"a": slice(0, 100), "w": slice(0, 16384)}, {"w": slice(16384, None), "b": slice(None)}]
    places = [{"a": 0, "w": 128}, {"w": 128 + 16384, "b": 128 + 40000}]
    whole, parts = made(), [made(), made()]
    mine = [{name: params[name][own].copy() for name, own in cut.items()} for cut in cuts]
    for optimizer, own in zip(parts, places, strict=True):
        optimizer._updater.places = own
    for _ in range(3):
        grads = {name: rng.standard_normal(n).astype(dtype) for name, n in sizes.items()}
        whole.update(params, grads)
        for optimizer, cut, own in zip(parts, cuts, mine, strict=True):
            optimizer.update(own, {name: grads[name][run].copy() for name, run in cut.items()})
    for optimizer, cut, own in zip(parts, cuts, mine, strict=True):
        for name, run in cut.items():
            harness.same_bits(own[name], params[name][run])
            for slot in ("m", "v"):
                same = getattr(whole, slot)[name][run], getattr(optimizer, slot)[name]
                np.testing.assert_array_equal(*same)
