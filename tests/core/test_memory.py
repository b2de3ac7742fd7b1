"""Results from the pool: aligned, reused, and never shared while anything looks at them."""

import concurrent.futures
import gc
import multiprocessing
import os
import threading
import tracemalloc

import numpy as np
import pytest

import fastreg
import fastreg.nn
from fastreg import Dropout
from fastreg._core import _kernels

BIG = 1 << 20  # float32 elements of a pooled result: 4 MiB


@pytest.fixture(autouse=True)
def empty_pool():
    fastreg.empty_cache()
    yield
    fastreg.empty_cache()


def result(size=BIG, value=1.0):
    layer = Dropout(0.0, rng=0)
    return layer.forward(np.full(size, value, np.float32))


def address(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("size", [1, 1000, 16_384, 16_385, BIG, BIG + 1])
def test_results_are_ordinary_arrays(size):
    Y = result(size, 3.0)
    assert Y.shape == (size,)
    assert Y.flags.writeable
    assert Y.flags.c_contiguous
    if Y.nbytes >= 64 * 1024:
        assert address(Y) % 64 == 0
    np.testing.assert_array_equal(Y, 3.0)


def test_a_block_returns_when_its_array_is_gone():
    before = _kernels.pool_info()
    Y = result()
    assert _kernels.pool_info()["live_bytes"] >= before["live_bytes"] + Y.nbytes
    first = address(Y)
    del Y
    assert _kernels.pool_info()["live_bytes"] == before["live_bytes"]
    assert _kernels.pool_info()["idle_blocks"] == 1
    assert address(result()) == first


@pytest.mark.parametrize(
    "look",
    [
        lambda Y: Y[5:7],
        lambda Y: Y.reshape(4, -1).T[::2],
        lambda Y: memoryview(Y),
        lambda Y: np.frombuffer(Y, np.uint8),
        lambda Y: np.asarray(Y).view(np.int32),
        lambda Y: np.lib.stride_tricks.sliding_window_view(Y, 3),
    ],
)
def test_no_block_is_reused_while_a_view_lives(look):
    view = look(result(value=1.0))
    gc.collect()
    taken = [result(value=2.0) for _ in range(3)]
    assert np.asarray(view).view().flat[0] in (1.0, np.float32(1.0).view(np.int32), 0)
    assert not any(np.shares_memory(np.asarray(view), other) for other in taken)


def test_an_idle_block_is_found_wherever_it_lies():
    sizes = (BIG, 2 * BIG, 3 * BIG, 4 * BIG)
    arrays = [result(size) for size in sizes]
    places = dict(zip(sizes, map(address, arrays), strict=True))
    arrays.clear()
    for size in (*sizes, *reversed(sizes)):
        assert address(result(size)) == places[size]


def test_memory_returns_to_where_it_was():
    before = _kernels.pool_info()
    kept = [result(BIG // 4 + k) for k in range(20)]
    assert _kernels.pool_info()["live_bytes"] > before["live_bytes"]
    del kept
    fastreg.empty_cache()
    assert _kernels.pool_info() == {**before, "idle_bytes": 0, "idle_blocks": 0}


def test_idle_memory_is_bounded():
    kept = [result(BIG // 16 * (k % 7 + 1)) for k in range(200)]
    del kept
    info = _kernels.pool_info()
    assert 0 < info["idle_blocks"] <= 64
    assert info["idle_bytes"] <= 1 << 30


def test_threads_never_share_a_block():
    wrong, done = [], []

    def work(value):
        for _ in range(50):
            Y = result(BIG // 16, value)
            if not (value == Y).all():
                wrong.append(value)
        done.append(value)

    workers = [threading.Thread(target=work, args=(float(k + 1),)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    assert len(done) == 4
    assert _kernels.pool_info()["live_bytes"] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_memory_of_its_own():
    Y = result(value=1.0)
    child = os.fork()
    if child == 0:
        Y[:] = 9.0
        ok = (result(value=5.0) == 5.0).all()
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(Y, 1.0)


def test_a_block_too_large_to_keep_drives_nothing_out():
    result()
    before = _kernels.pool_info()
    assert before["idle_blocks"] == 1
    Dropout(0.0, rng=0).forward(np.zeros((1 << 28) + 1, np.float32))
    assert _kernels.pool_info() == before


def page_faults(loop, *args):
    """Page faults of the part of a loop after its ``yield``, in a process of its own: in one that
    has forked, which the suite's has, any page written for the first time since counts as one."""
    pytest.importorskip("resource")
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as process:
        return process.submit(page_faults_here, loop, *args).result()


def page_faults_here(loop, *args):
    import resource

    steps = loop(*args)
    next(steps)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    list(steps)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def a_hundred_calls(layer, shape):
    X = np.ones(shape, np.float32)
    for step in range(102):
        if step == 2:
            yield
        layer.backward(layer.forward(X))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (fastreg.BatchNorm(256), (65_536, 256)),
        (fastreg.BatchNorm(64), (32, 64, 90, 90)),
        (fastreg.LayerNorm(256), (65_536, 256)),
        (fastreg.LayerNorm(16), (1_048_576, 16)),
        (fastreg.GroupNorm(8, 64), (32, 64, 90, 90)),
        (fastreg.Dropout(0.5), (65_536, 256)),
        (fastreg.Dropout(0.5, noise_shape=(1, None)), (2, 8_388_608)),
        (fastreg.GaussianDropout(0.5), (65_536, 256)),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "forward") else str(value),
)
def test_a_training_loop_in_steady_state_faults_no_page(layer, shape):
    """A hundred calls each way, 64 MB per result."""
    assert page_faults(a_hundred_calls, layer, shape) < 100


def steps_of_two_sizes(batch_norm):
    model = fastreg.nn.mlp([300, 512, 512, 10], batch_norm=batch_norm, dropout=0.5, rng=0)
    optimizer, X, y = fastreg.Adam(), np.ones((512, 300), np.float32), np.arange(512) % 10

    def step(rows):
        _, gradient = fastreg.nn.softmax_cross_entropy(model.forward(X[:rows]), y[:rows])
        model.backward(gradient, input_gradient=False)
        optimizer.update(model.params, model.grads)

    for rows in (512, 512, 389, 512, 389):
        step(rows)
    live = _kernels.pool_info()["live_bytes"]
    yield
    for _ in range(10):
        step(512), step(512), step(389)
    assert _kernels.pool_info()["live_bytes"] == live


@pytest.mark.parametrize("batch_norm", [False, True])
def test_training_steps_of_two_sizes_in_steady_state_fault_no_page(batch_norm):
    assert page_faults(steps_of_two_sizes, batch_norm) < 100


def peak_of_a_steady_step(model, loss, X, y, **options):
    """Bytes a step allocates beyond what lives before it, the pool's new blocks among them."""

    def step():
        _, gradient = loss(model.forward(X), y, **options)
        model.backward(gradient)

    for _ in range(3):
        step()
    tracemalloc.start()
    step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid", "gelu"])
def test_a_step_in_steady_state_allocates_no_large_array(activation, dropout, training):
    """Each hidden array has 512 KB. Small ones are made anew where the GIL does not tell whether
    somebody has them."""
    model = fastreg.nn.mlp([64, 1024, 1024, 10], activation=activation, dropout=dropout, rng=0)
    if not training:
        model.eval()
    X, y = np.ones((128, 64), np.float32), np.arange(128) % 10
    peak = peak_of_a_steady_step(model, fastreg.nn.softmax_cross_entropy, X, y)
    assert peak < (128 << 10 if _kernels.pool_info()["small_arrays"] else 256 << 10)


WIDE = np.ones((256, 1024))


@pytest.mark.parametrize(
    ("loss", "targets", "options"),
    [
        ("mse", WIDE.astype(np.float32), {}),
        ("mse", WIDE, {"sample_weight": np.ones(256)}),
        ("binary_cross_entropy", WIDE.astype(np.float32), {}),
        ("binary_cross_entropy", WIDE.astype(int), {"label_smoothing": 0.1}),
        ("softmax_cross_entropy", np.arange(256), {"label_smoothing": 0.1}),
    ],
)
def test_a_loss_in_steady_state_allocates_no_large_array(loss, targets, options):
    """Outputs of 1 MB; NumPy's buffers for mean squared errors take 128 KB of any size."""
    model, X = fastreg.nn.mlp([16, 1024], rng=0), np.ones((256, 16), np.float32)
    loss = getattr(fastreg.nn, loss)
    assert peak_of_a_steady_step(model, loss, X, targets, **options) < 256 << 10
