"""The mask: official vectors, one bit pattern everywhere, exact rates, independent calls."""

import copy
import pickle

import harness
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreg import Dropout, reference
from fastreg._core import _kernels, seeds

RATES = (0.0, 1e-10, 0.1, 0.5, 0.9, 1 - 2**-16, 1 - 1e-5, 1.0)

# The known-answer vectors of Random123 for philox4x32-10: counter, key, words.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def plain_philox(counter, key):
    """Philox4x32-10 in Python integers, straight from the paper."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return tuple(c)


def plain_keep(key, call, element, threshold):
    """Whether one element survives, by the stream's definition, in Python integers."""
    words_of = lambda index, domain: plain_philox(  # noqa: E731
        (index & 0xFFFFFFFF, index >> 32, call & 0xFFFFFFFF, call >> 32 | domain << 31),
        (key & 0xFFFFFFFF, key >> 32),
    )
    group, e = divmod(element, 64)
    words = words_of(8 * group + e % 32 // 4, 0)
    piece = words[2 * (e // 32) + e % 4 // 2] >> 16 * (e % 2) & 0xFFFF
    if piece == threshold >> 16:
        return (words_of(element, 1)[0] & 0xFFFF) < threshold & 0xFFFF
    return piece < threshold >> 16


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_known_answers(counter, key, words, level):
    assert _kernels.philox(counter, key[0] | key[1] << 32) == words
    assert plain_philox(counter, key) == words
    arrays = reference.philox4x32(np.array(counter, np.uint64), np.array(key, np.uint64))
    assert tuple(int(word) for word in arrays) == words


@pytest.mark.parametrize("first", [0, 2**32 - 128, 2**35 - 128, 2**38 - 64, 2**50])
def test_stream_is_as_defined_across_counter_carries(first, level, guarded):
    key, call = 0x123456789ABCDEF0, 2**32 - 1
    piece = plain_philox(
        (first // 8 & 0xFFFFFFFF, first // 8 >> 32, call, 0), (key & 0xFFFFFFFF, key >> 32)
    )
    for threshold in (1 << 31, 0x12345678, (piece[0] & 0xFFFF) << 16 | 0x8000):
        ones, out = guarded(np.ones(300)), guarded(np.empty(300), offset=1)
        kept = _kernels.dropout("f", "x", ones, out, key, call, threshold, 1.0, None, first)
        expected = [plain_keep(key, call, first + i, threshold) for i in range(300)]
        assert kept.astype(bool).tolist() == expected


@pytest.mark.parametrize("rate", RATES)
def test_same_bits_as_reference(rate, level, threads, dtype, guarded, rng):
    for size in harness.SIZES:
        x = rng.normal(size=size).astype(dtype)
        values = harness.specials(dtype)
        x[: min(size, values.size)] = values[: min(size, values.size)]
        fast, slow = Dropout(rate, rng=7), reference.Dropout(rate, rng=7)
        with np.errstate(invalid="ignore", over="ignore"):
            for _ in range(2):
                out = guarded(np.zeros_like(x), offset=size % 3)
                assert fast.forward(guarded(x, offset=1), out=out) is out
                harness.same_bits(out, slow.forward(x))
                in_place = guarded(x)
                harness.same_bits(fast.backward(in_place, out=in_place), slow.backward(x))
                harness.same_bits(fast.mask, slow.mask)


def test_layouts(dtype, rng):
    matrix = rng.normal(size=(37, 21)).astype(dtype)
    expected = Dropout(0.4, rng=1).forward(matrix)
    for laid_out in harness.layouts(matrix).values():
        harness.same_bits(Dropout(0.4, rng=1).forward(laid_out), expected)


def test_mask_does_not_depend_on_dtype_or_slicing(guarded):
    masks = []
    for dtype in harness.DTYPES:
        layer = Dropout(0.3, rng=5)
        layer.forward(np.ones((50, 70), dtype))
        masks.append(layer.mask != 0)
    assert np.array_equal(*masks)
    whole = guarded(np.ones(3500))
    _kernels.dropout("f", "x", whole, whole, 9, 4, 1 << 30, 1.0)
    for first in (0, 64, 1024, 3392):
        part = guarded(np.ones(100))
        _kernels.dropout("f", "x", part, part, 9, 4, 1 << 30, 1.0, None, first)
        assert np.array_equal(part, whole[first : first + 100])


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.77, 0.999])
def test_keep_rate(rate):
    """Within six standard errors: a false alarm in 5e8 runs, and the seed is fixed."""
    n = 2_000_000
    layer = Dropout(rate, rng=11)
    layer.forward(np.ones(n, np.float32))
    kept = layer.mask.sum(dtype=float)
    assert abs(kept - n * (1 - rate)) < 6 * np.sqrt(n * rate * (1 - rate))


@pytest.mark.parametrize("keep", [2**-16, 1e-5, 2**-20])
def test_rare_survivors_survive(keep, guarded):
    """Below 2**-16 only ties are kept; their number is Poisson, checked to six deviations."""
    n = 1 << 23
    kept = guarded(np.ones(n))
    _kernels.dropout("f", "x", kept, kept, 5, 0, round(keep * 2**32), 1.0)
    assert abs(kept.sum() - n * keep) < 6 * np.sqrt(n * keep)
    assert kept.any()


def test_ties_are_settled_exactly(guarded):
    """All 2**16 second halves of one tied piece decide by comparison with the lower half."""
    key, call, n = 3, 0, 1 << 18
    lower = 0x4000
    threshold = 0x8000_0000 | lower
    low, high, kept = (
        _kernels.dropout("f", "x", guarded(np.ones(n)), guarded(np.empty(n)), key, call, limit, 1.0)
        for limit in (0x8000_0000, 0x8001_0000, threshold)
    )
    tied = np.flatnonzero(low != high)
    assert tied.size >= 2  # a piece of 16 bits ties once in 65536 elements: 4 expected
    assert np.array_equal(
        np.flatnonzero(kept != low), [i for i in tied if plain_keep(key, call, int(i), threshold)]
    )


def test_calls_and_seeds_are_independent():
    """Correlations between masks stay within six standard errors of zero."""
    n = 1_000_000
    layer = Dropout(0.5, rng=0)
    masks = []
    for _ in range(3):
        layer.forward(np.ones(n, np.float32))
        masks.append(2 * layer.mask - 1)
    other = Dropout(0.5, rng=1)
    other.forward(np.ones(n, np.float32))
    masks.append(2 * other.mask - 1)
    for i in range(4):
        for lag in (1, 2, 8, 32, 64, 1024):
            assert abs(np.dot(masks[i][lag:], masks[i][:-lag])) < 6 * np.sqrt(n)
        for j in range(i):
            assert abs(np.dot(masks[i], masks[j])) < 6 * np.sqrt(n)


def test_backward_uses_the_mask_of_the_last_forward(rng):
    layer = Dropout(0.5, rng=0)
    Y = layer.forward(np.ones((30, 40)))
    dY = rng.normal(size=(30, 40))
    np.testing.assert_array_equal(layer.backward(dY), dY * Y)
    layer.forward(np.ones((30, 40)))
    assert not np.array_equal(layer.backward(dY), dY * Y)


def test_inference_passes_through(rng):
    layer, X = Dropout(0.5, rng=0), rng.normal(size=(4, 5))
    layer.eval()
    assert layer.forward(X) is X
    assert layer.backward(X) is X
    out = np.empty_like(X)
    assert layer.forward(X, out=out) is out
    np.testing.assert_array_equal(out, X)
    layer.train()
    assert not np.array_equal(layer.forward(X), X)


def test_numpys_global_seed_governs_layers_without_rng():
    layer = Dropout(0.5)
    np.random.seed(42)
    first = layer.forward(np.ones(100))
    np.random.seed(42)
    np.testing.assert_array_equal(Dropout(0.5).forward(np.ones(100)), first)
    assert not np.array_equal(Dropout(0.5).forward(np.ones(100)), first)


def test_keys_and_generators_from_the_global_state_have_all_their_bits():
    np.random.seed(42)
    keys = [divmod(seeds.key("x", None), 2**32) for _ in range(100)]
    entropy = [seeds.generator("x", None).bit_generator.seed_seq.entropy for _ in range(100)]
    for words in (keys, entropy):
        for word in zip(*words, strict=True):
            assert np.bitwise_or.reduce(word) == 2**32 - 1
            assert np.bitwise_and.reduce(word) == 0


@pytest.mark.parametrize("seed", [5, np.random.SeedSequence(5), np.random.default_rng(5)])
def test_rng_takes_what_default_rng_takes(seed):
    expected = Dropout(0.5, rng=5).forward(np.ones(64))
    np.testing.assert_array_equal(Dropout(0.5, rng=seed).forward(np.ones(64)), expected)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_continue_the_stream(clone):
    layer = Dropout(0.5, rng=3)
    layer.forward(np.ones(64))
    twin = clone(layer)
    np.testing.assert_array_equal(layer.backward(np.ones(64)), twin.backward(np.ones(64)))
    np.testing.assert_array_equal(layer.forward(np.ones(64)), twin.forward(np.ones(64)))


def test_mask_is_none_before_the_first_call():
    assert Dropout().mask is None


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    shape=st.lists(st.integers(0, 9), max_size=4),
    rate=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_any_shape_rate_and_seed(shape, rate, seed):
    x = np.random.default_rng(seed).normal(size=shape)
    x = np.asarray(x)
    fast, slow = Dropout(rate, rng=seed), reference.Dropout(rate, rng=seed)
    harness.same_bits(fast.forward(x), np.asarray(slow.forward(x)))


def test_unbiased(rng):
    """The mean of many masked copies tends to the input."""
    x = rng.normal(size=50)
    layer = Dropout(0.3, rng=0)
    mean = np.mean([layer.forward(x) for _ in range(20_000)], axis=0)
    np.testing.assert_allclose(mean, x, atol=6 * np.abs(x).max() * np.sqrt(0.3 / 0.7 / 20_000))


def test_the_count_of_calls_starts_again_at_its_end(rng):
    """Alone and as the last part of a fused block."""
    from fastreg.dropout.base import MAX_CALL
    from fastreg.nn import Dense, ReLU, Sequential

    X = rng.normal(size=(4, 3))
    drop = Dropout(0.5, rng=0)
    model = Sequential([Dense(3, 5, rng=0, dtype=np.float64), ReLU(), drop])
    first = model.forward(X)
    alone = Dropout(0.5, rng=0)
    alone.forward(X)
    for layer, call in ((drop, lambda: model.forward(X)), (alone, lambda: alone.forward(X))):
        layer.reset(call=MAX_CALL)
        call()
        assert layer.state_dict()["call"] == 0
        layer.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(model.forward(X), first)
