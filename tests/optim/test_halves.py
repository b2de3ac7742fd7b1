"""Parameters of 16 bits: the twin's bits, the rounding and its statistics, masters, states."""

import copy
import tracemalloc

import harness
import numpy as np
import pytest
from optim.test_rules import RULES, SERVICES, VARIANTS, same_from_here, same_state

import fastreg
from fastreg import checkpoint, optim, reference
from fastreg.reference.narrow import pieces_of

ml_dtypes = pytest.importorskip("ml_dtypes")
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
HALVES = [BFLOAT16, np.dtype(np.float16)]
MASTERS = [False, True]
LAST_PLACE = {"bfloat16": 2.0**-7, "float16": 2.0**-10}  # of 1


@pytest.fixture(params=HALVES, ids=str)
def half(request):
    """Both types in turn."""
    return request.param


@pytest.fixture(params=MASTERS, ids=["drawn", "master"])
def master(request):
    """Without masters and with them."""
    return request.param


def specials(half):
    """Signed zeros, subnormals, the ends of the range, infinities and NaN."""
    info = ml_dtypes.finfo(half)
    positive = [0.0, float(info.smallest_subnormal), float(info.tiny), 1.0, float(info.max), np.inf]
    return np.array([*positive, *(-value for value in positive), np.nan]).astype(half)


def gradients(rng, size, half, special):
    grad = (rng.normal(size=size) * 10.0 ** rng.integers(-12, 4, size)).astype(half)
    values = specials(half)
    if special and size > 2 * values.size:
        grad[rng.permutation(size)[: values.size]] = values
    return grad


def twins(rule, **options):
    return (getattr(library, rule)(rng=7, **options) for library in (optim, reference))


def averages(rule):
    """Whether a rule has averages of its own, which need masters."""
    return getattr(optim, rule)._averages


@pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide):RuntimeWarning")
@pytest.mark.parametrize("state", [None, "bfloat16"])
@pytest.mark.parametrize(("rule", "options"), VARIANTS)
def test_same_bits_as_reference(rule, options, state, level, guarded, rng, half, master):
    """All sizes and special values, each step on one thread more."""
    if averages(rule) and not master:
        pytest.skip("refused, see below")
    fast, slow = twins(rule, learning_rate=0.01, state_dtype=state, master=master, **options)
    sizes = [n for n in harness.SIZES if n < 100 or n > harness.BLOCK]
    params = [guarded(rng.normal(size=n).astype(half), offset=n % 3) for n in sizes]
    expected = [value.copy() for value in params]
    for step in range(3):
        grads = [gradients(rng, n, half, step == 2) for n in sizes]
        with fastreg.num_threads(1 + step):
            fast.update(params, [guarded(g, offset=g.size % 2) for g in grads])
        slow.update(expected, grads)
    for actual, wanted in zip(params, expected, strict=True):
        harness.same_bits(actual, wanted)
    if state is None:
        same_state(fast, slow)
    for name, wanted in slow.masters.items():
        harness.same_bits(fast.masters[name], wanted)


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
@pytest.mark.parametrize("rule", ["SGD", "AdamW", "LAMB"])
def test_services_have_the_reference_s_bits(rule, service, rng, half, master):
    if "ema_decay" in service and not master:
        pytest.skip("refused, see below")
    fast, slow = twins(rule, **({"learning_rate": 0.01, "master": master} | service))
    shapes = (300,), (7, 131), (1,), (20_000,), ()
    params = {str(i): np.asarray(rng.normal(size=s).astype(half)) for i, s in enumerate(shapes)}
    params["F"] = np.asfortranarray(rng.normal(size=(9, 40)).astype(half))
    params["float"] = rng.normal(size=70).astype("f4")
    expected = copy.deepcopy(params)
    for _ in range(3):
        grads = {
            name: np.asarray(rng.normal(size=p.shape).astype(p.dtype)) for name, p in params.items()
        }
        fast.update(params, grads)
        slow.update(expected, grads)
    for name, wanted in expected.items():
        harness.same_bits(params[name], np.asarray(wanted))
    same_state(fast, slow)


def test_same_bits_for_every_thread_count(threads, rng, half, master):
    for rule in ("AdamW", "LAMB"):
        fast, slow = twins(rule, learning_rate=0.01, master=master, clip_norm=1.0)
        params, grad = (
            [rng.normal(size=200_003).astype(half)],
            rng.normal(size=200_003).astype(half),
        )
        expected = [params[0].copy()]
        for optimizer, values in ((fast, params), (slow, expected)):
            optimizer.update(values, [grad])
        harness.same_bits(params[0], expected[0])


def test_every_layout_of_a_gradient(rng, half, master):
    matrix, grad = (rng.normal(size=(37, 21)).astype(half) for _ in range(2))
    for order in "CF":
        for laid_out in harness.layouts(grad).values():
            fast, slow = twins("Adam", master=master)
            params, expected = {"w": matrix.copy(order)}, {"w": matrix.copy(order)}
            fast.update(params, {"w": laid_out})
            slow.update(expected, {"w": grad})
            harness.same_bits(params["w"], expected["w"])


def test_every_number_keeps_its_bits_in_a_step_of_zero(level, half, master):
    every = np.arange(65536, dtype=np.uint16).view(half)
    params = {"w": every.copy()}
    fastreg.SGD(0.0, master=master, rng=0).update(params, {"w": np.zeros(65536, half)})
    harness.same_bits(params["w"], every)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_masters_round_as_numpy_does(level, rng, half):
    """To the nearest, ties to even; but what is finite stays finite."""
    x = np.concatenate([rng.normal(size=3000) * 10.0 ** rng.integers(-9, 5, 3000), [3e5, -3e5]])
    x = np.concatenate([x.astype("f4"), [(2 * k + 1) * 2.0**-25 for k in range(64)]]).astype("f4")
    exact = (np.arange(1024) * 2.0**-11 + 1).astype("f4")  # numbers, and halfway between two
    x = np.concatenate([x, exact])
    optimizer = fastreg.SGD(0.0, master=True)
    params = {"w": np.zeros(x.size, half)}
    optimizer.update(params, {"w": np.zeros(x.size, half)})
    nearest = x.astype(half)
    largest = float(ml_dtypes.finfo(half).max)
    nearest = np.where(np.isinf(nearest), np.copysign(largest, x).astype(half), nearest)
    optimizer.masters["w"][...] = x
    params["w"][...] = nearest  # so that the master counts
    optimizer.update(params, {"w": np.zeros(x.size, half)})
    harness.same_bits(params["w"], nearest)
    harness.same_bits(optimizer.masters["w"], x)


def test_a_parameter_that_is_written_to_counts_and_its_master_follows(rng, half):
    optimizer = fastreg.SGD(1e-6, master=True)
    params = {"w": np.ones(900, half)}
    optimizer.update(params, {"w": np.ones(900, half)})
    held = optimizer.masters["w"].copy()
    assert (held == np.float32(1) - np.float32(1e-6)).all()
    params["w"][100:200] = 3.0
    optimizer.update(params, {"w": np.zeros(900, half)})
    held[100:200] = 3.0
    harness.same_bits(optimizer.masters["w"], held)
    assert (params["w"][100:200] == 3.0).all()


@pytest.mark.parametrize("share", [0.3, 0.011])
@pytest.mark.parametrize("scale", [1.0, 2.0**-18])
def test_each_rounding_is_up_as_often_as_what_is_cut_off_says(share, scale, half):
    """Also of the smallest numbers of float16, multiples of 2^-24; and signs do not count."""
    place = LAST_PLACE[half.name] * scale
    if half == np.float16 and scale < 2.0**-14:
        place = 2.0**-24
    n = 1 << 16
    for sign in (1.0, -1.0):
        params = {"w": np.full(n, sign * scale, half)}
        optimizer = fastreg.SGD(share * place, rng=11)
        optimizer.update(params, {"w": np.full(n, -sign, half)})
        moved = np.abs(params["w"].astype(float)) - scale
        assert set(np.unique(moved)) == {0.0, place}
        assert abs((moved > 0).mean() - share) < 5 * np.sqrt(share / n)


def test_draws_of_parameters_depend_on_neither_those_of_state_nor_the_step_before():
    n = 1 << 16
    own = pieces_of(5, 3, 15 << 60, n).astype(float)
    for other in (
        pieces_of(5, 3, 0, n),
        pieces_of(5, 3, 1 << 60, n),
        pieces_of(5, 4, 15 << 60, n),
        np.roll(own, 1),
    ):
        assert abs(np.corrcoef(own, other)[0, 1]) < 5 / 256


def test_small_steps_move_a_parameter_that_the_nearest_number_would_hold(half, master):
    """A thousand steps of a thousandth of the last place: the planted fault never moves."""
    n, rate = 4096, LAST_PLACE[half.name] / 1000
    params, grads = {"w": np.ones(n, half)}, {"w": np.full(n, -1.0, half)}
    optimizer = fastreg.SGD(rate, master=master, rng=1)
    full, floats = fastreg.SGD(rate), {"w": np.ones(n, "f4")}
    stuck = np.ones(n, half)
    for _ in range(1500):
        optimizer.update(params, grads)
        full.update(floats, {"w": grads["w"].astype("f4")})
        stuck = (stuck.astype("f4") + np.float32(rate)).astype(half)
    moved = (params["w"].astype(float) - 1).mean() / LAST_PLACE[half.name]
    assert (stuck == 1).all()
    if master:
        harness.same_bits(optimizer.masters["w"], floats["w"])
        harness.same_bits(params["w"], floats["w"].astype(half))
        assert moved in (1.0, 2.0)
    else:
        assert abs(moved - 1.5) < 5 * np.sqrt(1.5 / n)


def test_a_hundred_thousand_steps_do_not_drift(rng, half, master):
    """The mean path is that of float32: as far as chance leads a walk of the last place."""
    n, steps, rate = 512, 100_000, 2e-6
    grads = [rng.normal(0.5, 1, size=n).astype(half) for _ in range(64)]
    wide = [grad.astype("f4") for grad in grads]
    ours, theirs = {"w": np.ones(n, half)}, {"w": np.ones(n, "f4")}
    optimizer, full = fastreg.SGD(rate, master=master, rng=2), fastreg.SGD(rate)
    for step in range(steps):
        optimizer.update(ours, {"w": grads[step % 64]})
        full.update(theirs, {"w": wide[step % 64]})
    off = ours["w"].astype(float) - theirs["w"]
    place = LAST_PLACE[half.name]
    if master:
        assert np.abs(off).max() <= place / 2 + 1e-6
    else:  # a step's variance is at most rate * |g| * place
        spread = np.sqrt(steps * rate * 1.2 * place)
        assert abs(off.mean()) < 5 * spread / np.sqrt(n)
        assert off.std() < 1.5 * spread


@pytest.mark.parametrize("rule", RULES)
def test_a_copy_a_pickle_and_a_state_continue_bit_for_bit(rule, rng, half, master, tmp_path):
    if averages(rule) and not master:
        pytest.skip("refused, see below")
    optimizer = getattr(optim, rule)(0.01, master=master)  # its key is drawn with the first step
    params = {"w": rng.normal(size=700).astype(half), "f": np.ones(3)}
    steps = [{"w": rng.normal(size=700).astype(half), "f": np.ones(3)} for _ in range(4)]
    for grads in steps[:2]:
        optimizer.update(params, grads)
    loaded = getattr(optim, rule)(0.5, master=master)
    checkpoint.save(tmp_path / "run.ckpt", {"state": optimizer.state_dict(), "params": params})
    kept = checkpoint.load(tmp_path / "run.ckpt")
    loaded.load_state_dict(kept["state"])
    harness.same_bits(kept["params"]["w"], params["w"])
    same_from_here(optimizer, loaded, kept["params"], steps[2:])


@pytest.mark.parametrize("rule", RULES)
def test_states_go_on_over_parameters_of_any_type(rule, rng, half):
    """A state of floats steps halves and back, with masters and without."""
    averaged = averages(rule)
    values, grad = rng.normal(size=(2, 90)).astype(half)
    full = getattr(optim, rule)(0.01)
    full.update({"w": values.astype("f4")}, {"w": grad.astype("f4")})
    for mastered in [True] if averaged else MASTERS:
        fewer = getattr(optim, rule)(0.01, master=mastered, rng=0)
        fewer.load_state_dict(full.state_dict())
        fewer.update({"w": values.copy()}, {"w": grad})
        state = fewer.state_dict()
        assert ("w.master" in state) == mastered
        again = getattr(optim, rule)(0.01)
        again.load_state_dict(state)
        assert "w.master" not in again.state_dict()
        for key, value in again.state_dict().items():
            if isinstance(value, np.ndarray):
                harness.same_bits(value, state[key])
        again.update({"w": values.astype("f4")}, {"w": grad.astype("f4")})
        other = getattr(optim, rule)(0.01, master=True)
        other.load_state_dict(state)
        params = {"w": values.copy()}
        other.update(params, {"w": grad})
        assert other.masters["w"].dtype == np.float32


def test_averages_change_places_with_masters(rng, half):
    fast, slow = twins("AdamW", master=True, ema_decay=0.9)
    params = {"w": rng.normal(size=(30, 5)).astype(half), "f": np.ones(3, "f4")}
    expected = copy.deepcopy(params)
    for _ in range(3):
        grads = {"w": rng.normal(size=(30, 5)).astype(half), "f": np.ones(3, "f4")}
        fast.update(params, grads)
        slow.update(expected, grads)
    before, live = fast.ema["w"].copy(), copy.deepcopy(params)
    masters = fast.masters["w"].copy()
    fast.swap_ema()
    slow.swap_ema()
    harness.same_bits(params["w"], before.astype(half))
    harness.same_bits(params["w"], expected["w"])
    harness.same_bits(params["f"], expected["f"])
    harness.same_bits(fast.ema["w"], masters)
    fast.swap_ema()
    for name, value in live.items():
        harness.same_bits(params[name], value)
    harness.same_bits(fast.ema["w"], before)


def refused(optimizer, params, grads, error, match):
    before = copy.deepcopy(params)
    with pytest.raises(error, match=match):
        optimizer.update(params, grads)
    for name, value in before.items():
        assert params[name].tobytes() == value.tobytes()
    assert optimizer.t == 0


def test_what_does_not_fit_is_refused(half):
    w, g = np.ones(3, half), np.ones(3, half)
    first = {"a": np.ones(3, "f4"), "w": w}
    ok = {"a": np.ones(3, "f4")}
    adam = fastreg.Adam
    refused(adam(), first, ok | {"w": np.ones(3, "f4")}, TypeError, rf"grads\['w'\].*{half.name}")
    refused(
        adam(), ok, {"a": g}, TypeError, r"grads\['a'\] must have its parameter's dtype float32"
    )
    refused(adam(), first, ok | {"w": np.ones(4, half)}, ValueError, r"grads\['w'\].*shape \(3,\)")
    refused(adam(ema_decay=0.5), first, ok | {"w": g}, TypeError, r"params\['w'\].*master=True")
    refused(fastreg.ScheduleFreeAdamW(), first, ok | {"w": g}, TypeError, "master=True")
    for wrong in ("c8", "i2", ml_dtypes.float8_e5m2, ">f2"):
        match = r"params\['w'\] must be float32 or float64, float16 or bfloat16"
        refused(adam(), ok | {"w": w.astype(wrong)}, ok | {"w": g}, TypeError, match)
    w.flags.writeable = False
    refused(adam(), first, ok | {"w": g}, ValueError, r"params\['w'\] must be writeable")
    refused(adam(), {"w": np.ones((4, 4), half)[:, ::2]}, {"w": g}, ValueError, "contiguous")
    shared = np.ones(6, half)
    both = {"a": shared[:4], "w": shared[2:]}
    refused(adam(), both, {k: np.ones(4, half) for k in both}, ValueError, "must not share memory")
    with pytest.raises(TypeError, match="Adam: master must be"):
        adam(master=1)
    with pytest.raises(TypeError, match="ReLU|float32 or float64"):
        fastreg.Dropout(0.5).forward(np.ones(3, half))


def test_a_state_whose_masters_do_not_fit_is_refused(half):
    optimizer, params = fastreg.Adam(master=True), {"w": np.ones(3, half)}
    optimizer.update(params, {"w": np.ones(3, half)})
    state = optimizer.state_dict()
    for wrong, error in (
        (np.ones(3), TypeError),
        (np.ones(4, "f4"), ValueError),
        (1.0, TypeError),
        (np.ones(3, half), TypeError),
    ):
        with pytest.raises(error, match=r"Adam.load_state_dict.*'w"):
            optimizer.load_state_dict(state | {"w.master": wrong})
    with pytest.raises(ValueError, match="v.master"):
        optimizer.load_state_dict(state | {"v.master": np.ones(3, "f4")})
    for key, value in optimizer.state_dict().items():
        assert np.array_equal(value, state[key])


def test_the_bytes_that_are_held():
    n = 1 << 20
    for master, wanted in ((False, 8), (True, 12)):
        for half in HALVES:
            params, grads = {"w": np.ones(n, half)}, {"w": np.ones(n, half)}
            optimizer = fastreg.Adam(master=master)
            tracemalloc.start()
            optimizer.update(params, grads)
            held, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert abs(held - wanted * n) < 1e5
            assert most < held + 1e5


def test_a_seed_is_drawn_where_a_parameter_needs_it(half):
    def drawn(**options):
        params = {"w": np.linspace(1, 2, 500).astype(half)}
        fastreg.Adam(**options).update(params, {"w": np.ones(500, half)})
        return params["w"].tobytes()

    assert drawn(rng=3) == drawn(rng=np.random.default_rng(3)) != drawn(rng=4)
    np.random.seed(42)
    first = drawn()
    np.random.seed(42)
    drawn(master=True)
    fastreg.Adam().update({"w": np.ones(3)}, {"w": np.ones(3)})
    assert drawn() == first != drawn()


def test_plain_numbers_whole_numbers_and_lists_are_gradients(half, master):
    """As of other types: halves of the parameter's type."""
    results = []
    for grad in (np.full(4, 2, half), np.full(4, 2), 2, 2.0, [2, 2, 2, 2], half.type(2)):
        params = {"w": np.ones(4, half)}
        fastreg.Adam(0.01, master=master, rng=0).update(params, {"w": grad})
        results.append(params["w"].tobytes())
    assert len(set(results)) == 1
