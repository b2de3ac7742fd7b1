"""Every optimizer, option and service against its reference twin, bit for bit."""

import copy
import inspect
import itertools
import pickle
import threading

import harness
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp

import fastreg
from fastreg import Adam, optim, reference

RULES = optim.__all__


def variants():
    """Every rule with every setting of its own keyword options, read off its signature."""
    for rule in RULES:
        options = {
            name: (p.default, True if isinstance(p.default, bool) else 0.5)
            for name, p in inspect.signature(getattr(optim, rule)).parameters.items()
            if p.kind is p.KEYWORD_ONLY
        }
        for values in itertools.product(*options.values()):
            chosen = dict(zip(options, values, strict=True))
            label = "-".join([rule, *(k for k, v in chosen.items() if v is True or v == 0.5)])
            yield pytest.param(rule, chosen, id=label)


VARIANTS = list(variants())


def schedule(step):
    return 0.1 / (1 + step)


SERVICES = {
    "none": {},
    "decay": {"weight_decay": 0.1},
    "l2": {"lambda_l2": 0.1},
    "l1": {"lambda_l1": 0.05},
    "prox": {"lambda_l1": 0.05, "l1_mode": "prox"},
    "clip value": {"clip_value": 0.3},
    "clip norm": {"clip_norm": 0.7},
    "average": {"ema_decay": 0.9},
    "climb": {"maximize": True},
    "climb, clipped": {"maximize": True, "clip_norm": 0.7, "weight_decay": 0.1},
    "schedule": {"learning_rate": schedule, "weight_decay": schedule},
    "all": {
        "weight_decay": 0.1,
        "lambda_l2": 0.01,
        "lambda_l1": 0.02,
        "l1_mode": "prox",
        "clip_value": 0.3,
        "clip_norm": 2.0,
        "ema_decay": 0.5,
        "exclude": ["1"],
        "groups": {"2": {"learning_rate": 0.5, "weight_decay": 0.0}, "*": {"lambda_l1": 0.3}},
        "on_nonfinite": "raise",
    },
}


def twins(rule, **options):
    return getattr(optim, rule)(**options), getattr(reference, rule)(**options)


def gradients(rng, size, dtype, steps=3):
    """A few steps' gradients over many magnitudes, special values among them."""
    values = harness.specials(dtype)
    for step in range(steps):
        grad = (rng.normal(size=size) * 10.0 ** rng.integers(-12, 12, size)).astype(dtype)
        if step == steps - 1 and size > 2 * values.size:
            grad[rng.permutation(size)[: values.size]] = values
        yield grad


def test_every_compiled_rule_is_among_the_variants():
    compiled = [getattr(optim, p.values[0])(**p.values[1])._updater for p in VARIANTS]
    assert {updater.__reduce__()[1][1] for updater in compiled} == set(
        fastreg._core._kernels.rules()
    )


def same_state(fast, slow):
    for k, known in enumerate(slow.state.values()):
        for name, state in known.items():
            harness.same_bits(fast._updater.slot(k)[name], np.asarray(state))
    for name, average in slow.ema.items():
        harness.same_bits(fast.ema[name], np.asarray(average))


def same_from_here(optimizer, loaded, params, steps):
    """Take steps with an optimizer, its copy, its pickle and one that was loaded: the same bits."""
    pickled = pickle.loads(pickle.dumps(optimizer))
    results = []
    for each in (optimizer, copy.deepcopy(optimizer), pickled, loaded):
        own = copy.deepcopy(params)
        for grads in steps:
            each.update(own, grads)
        results.append(own["w"])
    for result in results[1:]:
        harness.same_bits(result, results[0])


def same_steps(fast, slow, guarded, rng, dtype, steps=3):
    """Take steps with parameters of all sizes, each on one thread more, and compare their bits."""
    params = [guarded(rng.normal(size=n).astype(dtype), offset=n % 3) for n in harness.SIZES]
    expected = [value.copy() for value in params]
    taken = zip(*(gradients(rng, size, dtype, steps) for size in harness.SIZES), strict=True)
    for step, grads in enumerate(taken):
        with fastreg.num_threads(1 + step):
            fast.update(params, [guarded(g, offset=g.size % 2) for g in grads])
        slow.update(expected, list(grads))
    for actual, wanted in zip(params, expected, strict=True):
        harness.same_bits(actual, wanted)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide):RuntimeWarning")
@pytest.mark.parametrize(("rule", "options"), VARIANTS)
def test_same_bits_as_reference(rule, options, level, dtype, guarded, rng):
    """All sizes and special values, on one thread and on three."""
    fast, slow = twins(rule, learning_rate=0.01, **options)
    same_steps(fast, slow, guarded, rng, dtype)
    same_state(fast, slow)


@pytest.mark.parametrize("rule", RULES)
def test_same_bits_for_every_thread_count(rule, threads, dtype, rng):
    fast, slow = twins(rule, learning_rate=0.01)
    params, grad = [rng.normal(size=200_003).astype(dtype)], rng.normal(size=200_003).astype(dtype)
    expected = [params[0].copy()]
    for optimizer, values in ((fast, params), (slow, expected)):
        optimizer.update(values, [grad])
    harness.same_bits(params[0], expected[0])


@pytest.mark.parametrize("services", SERVICES.values(), ids=SERVICES)
@pytest.mark.parametrize(("rule", "options"), VARIANTS)
def test_services_have_the_reference_s_bits(rule, options, services, dtype, rng):
    shapes = [(5,), (3, 7), (20_000,), ()]
    arguments = {"learning_rate": 0.05} | options | services
    fast, slow = twins(rule, **arguments)
    params = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    params = [np.asarray(p) for p in params]
    expected = copy.deepcopy(params)
    for step in range(4):
        grads = [np.asarray(rng.normal(size=shape).astype(dtype)) for shape in shapes]
        with fastreg.num_threads(1 + step % 2):
            fast.update(params, grads)
        slow.update(expected, grads)
    for actual, wanted in zip(params, expected, strict=True):
        harness.same_bits(actual, np.asarray(wanted))
    same_state(fast, slow)


def test_services_at_every_level(level, dtype, rng):
    for rule in RULES:
        fast, slow = twins(rule, **({"learning_rate": 0.05} | SERVICES["all"]))
        params = [rng.normal(size=size).astype(dtype) for size in (17, 33, 16_385)]
        expected = copy.deepcopy(params)
        for _ in range(2):
            grads = [rng.normal(size=p.shape).astype(dtype) for p in params]
            fast.update(params, grads)
            slow.update(expected, grads)
        for actual, wanted in zip(params, expected, strict=True):
            harness.same_bits(actual, wanted)


@pytest.mark.parametrize("rule", RULES)
def test_layouts_of_gradients_and_parameters(rule, dtype, rng):
    matrix, grad = rng.normal(size=(2, 37, 21)).astype(dtype)
    sums = rule in ("LAMB", "LARS")  # whose norms are summed in the order of the memory
    for order, (_, laid_out) in itertools.product("CF", harness.layouts(grad).items()):
        fast, slow = twins(rule)
        params, expected = {"w": matrix.copy(order)}, {"w": matrix.copy(order if sums else "C")}
        for _ in range(2):
            fast.update(params, {"w": laid_out})
            slow.update(expected, {"w": grad})
        harness.same_bits(params["w"], expected["w"])
        assert params["w"].flags[f"{order}_CONTIGUOUS"]


@pytest.mark.parametrize("axes", list(itertools.permutations(range(4))))
def test_parameters_may_lie_in_any_order_of_their_axes(axes, dtype, rng):
    """A channels-last weight, say; gradients in that layout, in another, or cut from a larger."""
    shape, options = (3, 1, 4, 5), {"clip_norm": 0.5, "ema_decay": 0.9, "weight_decay": 0.1}
    fast, slow = twins("Adam", **options)
    stored = np.empty([shape[axis] for axis in axes], dtype)
    param = stored.transpose(np.argsort(axes))
    param[...] = rng.normal(size=shape)
    params, copies = {"w": param, "b": np.ones(3, dtype)}, {"w": param.copy(order="K")}
    copies["b"] = params["b"].copy()
    laid = [
        lambda grad: grad,
        lambda grad: np.asfortranarray(grad),
        lambda grad: np.copyto(like := np.empty_like(param), grad) or like,
        lambda grad: np.repeat(grad, 2, axis=3)[..., ::2],
        lambda grad: grad[::-1].copy()[::-1],
    ]
    for layout in laid:
        grad, rest = rng.normal(size=shape).astype(dtype), np.ones(3, dtype)
        fast.update(params, {"w": layout(grad), "b": rest})
        slow.update(copies, {"w": grad, "b": rest})
        assert fast.grad_norm == slow.grad_norm
    assert params["w"] is param
    harness.same_bits(param, copies["w"])
    assert fast.m["w"].strides == np.empty_like(param).strides
    again = optim.Adam(**options)
    again.load_state_dict({
        key: np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value
        for key, value in fast.state_dict().items()
    })  # fmt: skip
    twice = {name: value.copy(order="K") for name, value in params.items()}
    for optimizer, values in ((fast, params), (again, twice)):
        optimizer.update(values, {"w": grad, "b": rest})
    harness.same_bits(params["w"], twice["w"])


def test_a_parameter_transposed_in_place_is_noticed():
    optimizer, params = optim.Adam(0.1), {"w": np.ones((2, 3))}
    optimizer.update(params, {"w": np.arange(6.0).reshape(2, 3)})
    params["w"] = params["w"].T
    with pytest.raises(ValueError, match=r"must keep shape \(2, 3\)"):
        optimizer.update(params, {"w": np.ones((3, 2))})


@pytest.mark.parametrize("rule", RULES)
def test_whole_numbers_truth_values_lists_and_plain_numbers_are_gradients(rule, dtype):
    """As in the chapter: floats of the parameter's type, a number for every element."""
    exact = {"w": np.ones(4, dtype), "s": 1.0}
    wanted = getattr(optim, rule)(clip_norm=5.0)
    grads = [np.array([1, 0, 1, 1], dtype), np.full(4, 2.0, dtype)]
    for grad, number in zip(grads, (1.0, 2.0), strict=True):
        wanted.update(exact, {"w": grad, "s": number})
    for first, second in (
        (np.array([1, 0, 1, 1]), np.full(4, 2, np.int8)),
        (np.array([True, False, True, True]), 2.0),
        ([1, 0, 1, 1], [2.0, 2.0, 2.0, 2.0]),
        ((1.0, False, True, 1), 2),
        (np.array([1, 0, 1, 1], np.uint64), np.int32(2)),
    ):
        optimizer, params = getattr(optim, rule)(clip_norm=5.0), {"w": np.ones(4, dtype), "s": 1.0}
        optimizer.update(params, {"w": first, "s": True, "extra": np.ones(9)})
        optimizer.update(params, {"w": second, "s": np.int64(2), "extra": None})
        harness.same_bits(params["w"], exact["w"])
        assert params["s"] == exact["s"]


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_mix_of_tensors(rule, data):
    shapes = data.draw(st.lists(st.lists(st.integers(0, 7), max_size=3), min_size=1, max_size=5))
    dtypes = data.draw(st.lists(st.sampled_from(harness.DTYPES), min_size=5, max_size=5))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    fast, slow = twins(rule, learning_rate=data.draw(st.floats(1e-6, 10)))
    params = {f"p{k}": rng.normal(size=s).astype(dtypes[k]) for k, s in enumerate(shapes)}
    params = {name: np.asarray(value) for name, value in params.items()}
    expected = copy.deepcopy(params)
    for _ in range(3):
        grads = {k: np.asarray(rng.normal(size=p.shape).astype(p.dtype)) for k, p in params.items()}
        fast.update(params, grads)
        slow.update(expected, grads)
    for name, value in params.items():
        harness.same_bits(value, np.asarray(expected[name]))


def test_adam_follows_the_chapter_to_a_few_ulp(fixed_rng):
    """The chapter's literal formula, in 50 digits."""
    mp.dps = 50
    lr, beta1, beta2, epsilon = (mp.mpf(x) for x in (0.01, 0.9, 0.999, 1e-8))
    theta = fixed_rng.normal(size=20)
    params, optimizer = {"w": theta.copy()}, Adam(learning_rate=0.01)
    exact, m, v = [mp.mpf(x) for x in theta], [mp.mpf(0)] * 20, [mp.mpf(0)] * 20
    for t in range(1, 30):
        grad = fixed_rng.normal(size=20) * 10.0 ** fixed_rng.integers(-6, 6, 20)
        optimizer.update(params, {"w": grad})
        for i, g in enumerate(map(mp.mpf, grad)):
            m[i] = beta1 * m[i] + (1 - beta1) * g
            v[i] = beta2 * v[i] + (1 - beta2) * g * g
            exact[i] -= lr * (m[i] / (1 - beta1**t)) / (mp.sqrt(v[i] / (1 - beta2**t)) + epsilon)
    ulp = np.spacing(np.maximum(np.abs(theta), 0.3))
    assert np.all(np.abs(params["w"] - np.array(exact, float)) <= 8 * ulp)


def test_first_adam_step_is_the_learning_rate():
    params = {"w": np.array([1.0, 1.0, 1.0])}
    Adam(learning_rate=0.1).update(params, {"w": np.array([3.0, -1e-4, 0.0])})
    np.testing.assert_allclose(params["w"], [0.9, 1.1, 1.0], rtol=1e-4)


@pytest.mark.parametrize("rule", RULES)
def test_scalars_replace_their_entries(rule):
    fast, slow = twins(rule)
    params, expected = {"x": -1.5, "y": np.float32(2.0)}, {"x": -1.5, "y": np.float32(2.0)}
    for step in range(4):
        grads = {"x": 0.3 * step - 1, "y": np.float32(0.25)}
        fast.update(params, grads)
        slow.update(expected, grads)
    assert params == expected
    assert all(isinstance(value, type(expected[name])) for name, value in params.items())


@pytest.mark.parametrize("rule", RULES)
def test_lists_dicts_and_zero_dimensional_arrays(rule, dtype):
    fast, slow = twins(rule)
    params, expected = [np.array(1.0, dtype), 2.0], [np.array(1.0, dtype), 2.0]
    kept = params[0]
    fast.update(params, [np.array(0.5, dtype), 0.5])
    slow.update(expected, [np.array(0.5, dtype), 0.5])
    assert params[0] is kept
    assert params == expected


@pytest.mark.parametrize("rule", RULES)
def test_names_may_join_leave_and_return(rule, rng):
    fast, slow = twins(rule)
    params = {"a": rng.normal(size=5), "b": rng.normal(size=(3, 2))}
    expected = copy.deepcopy(params)
    for names in (["a"], ["b", "a"], ["b"], ["a", "b"]):
        for optimizer, values in ((fast, params), (slow, expected)):
            some = {name: values[name] for name in names}
            optimizer.update(some, {name: np.full_like(some[name], 0.5) for name in names})
    for name in params:
        harness.same_bits(params[name], expected[name])


@pytest.mark.parametrize("rule", RULES)
def test_a_replaced_array_is_noticed(rule):
    fast, slow = twins(rule)
    params, expected = {"w": np.ones(4)}, {"w": np.ones(4)}
    for _ in range(3):
        for optimizer, values in ((fast, params), (slow, expected)):
            optimizer.update(values, {"w": np.arange(4.0)})
            values["w"] = values["w"] * 0.5
    harness.same_bits(params["w"], expected["w"])


@pytest.mark.parametrize("rule", RULES)
def test_a_gradient_may_share_memory_with_parameters(rule, rng):
    """The gradient of |theta|^2 / 2 is theta; that of one tensor may be another tensor."""
    fast, slow = twins(rule)
    values = rng.normal(size=(2, 40_000))
    params = {"a": values[0].copy(), "b": values[1].copy()}
    expected = {"a": values[0].copy(), "b": values[1].copy()}
    for _ in range(2):
        fast.update(params, {"a": params["b"], "b": params["a"]})
        slow.update(expected, {"a": expected["b"].copy(), "b": expected["a"].copy()})
    fast.update(params, params)
    slow.update(expected, {name: value.copy() for name, value in expected.items()})
    for name in params:
        harness.same_bits(params[name], expected[name])


@pytest.mark.parametrize("rule", RULES)
def test_hyper_parameters_may_change_mid_run(rule, rng):
    fast, slow = twins(rule)
    params, expected = {"w": np.ones(9)}, {"w": np.ones(9)}
    for rate in (0.1, 0.0, 3.0):
        fast.lr = slow.lr = rate
        grad = rng.normal(size=9)
        fast.update(params, {"w": grad})
        slow.update(expected, {"w": grad})
    harness.same_bits(params["w"], expected["w"])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("start", [2**24, 2**31, 2**53])
def test_step_counters_far_along(rule, start, dtype, rng):
    fast, slow = twins(rule)
    params, expected = {"w": np.ones(5, dtype)}, {"w": np.ones(5, dtype)}
    fast.t = slow.t = start - 1
    for _ in range(3):
        grad = rng.normal(size=5).astype(dtype)
        fast.update(params, {"w": grad})
        slow.update(expected, {"w": grad})
    harness.same_bits(params["w"], expected["w"])
    assert fast.t == start + 2
    assert type(fast.t) is int


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_continue_exactly(rule, clone, rng):
    grads = rng.normal(size=(4, 6))
    params, optimizer = {"w": np.ones(6)}, getattr(optim, rule)()
    for grad in grads[:2]:
        optimizer.update(params, {"w": grad})
    params_2, optimizer_2 = copy.deepcopy(params), clone(optimizer)
    for grad in grads[2:]:
        optimizer.update(params, {"w": grad})
        optimizer_2.update(params_2, {"w": grad})
    harness.same_bits(params["w"], params_2["w"])


@pytest.mark.parametrize("rule", RULES)
def test_threads_sharing_one_optimizer_take_turns(rule):
    """With one gradient for all, every serial order gives the same numbers."""
    fast, slow = twins(rule)
    params, expected = {"w": np.ones(70_000)}, {"w": np.ones(70_000)}
    grads = {"w": np.full(70_000, 0.25)}
    workers = [
        threading.Thread(target=lambda: [fast.update(params, grads) for _ in range(25)])
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for _ in range(100):
        slow.update(expected, grads)
    assert fast.t == 100
    harness.same_bits(params["w"], expected["w"])


def test_state_views_cannot_be_replaced():
    optimizer = Adam()
    optimizer.update({"w": np.ones(2)}, {"w": np.ones(2)})
    with pytest.raises(TypeError):
        optimizer.m["w"] = np.zeros(2)


@pytest.mark.parametrize("rule", RULES)
def test_signatures_match_the_reference(rule):
    fast, slow = (inspect.signature(getattr(module, rule)) for module in (optim, reference))
    assert fast == slow
