"""N: numbers."""

import hashlib

import harness
import numpy as np
from charter import Broken, kept_by, passed, row

import fastreg
from fastreg import nn, reference
from fastreg._core import _kernels

BITS = (
    "tests/optim/test_rules.py::test_same_bits_as_reference",
    "tests/optim/test_rules.py::test_services_have_the_reference_s_bits",
    "tests/dropout/test_layers.py::test_same_bits_as_reference",
    "tests/penalty/test_elastic.py::test_same_bits_as_the_reference",
    "tests/nn/test_functions.py",
)


def one_ulp(patch):
    """Adam's twin is one unit in the last place off."""
    plain = reference.Adam.move

    def move(self, *arguments):
        moved, denominator = plain(self, *arguments)
        return np.nextafter(moved, np.asarray(np.inf, np.asarray(moved).dtype)), denominator

    patch.setattr(reference.Adam, "move", move)


kept_by(
    "N-01",
    "a kernel has the bits of its twin in plain NumPy, over layouts, edge sizes, levels, threads and special values",
    *BITS,
    times=50,
    faults=(one_ulp,),
    slow=True,
)
PROPERTIES = (
    "tests/optim/test_rules.py::test_any_mix_of_tensors",
    "tests/dropout/test_mask.py::test_any_shape_rate_and_seed",
    "tests/dropout/test_layers.py::test_any_noise_shape",
    "tests/penalty",
    "tests/norm/test_rows.py",
    "tests/nn/test_losses.py",
    "tests/nn/test_block.py",
    "tests/nn/test_sequential.py",
)


@row(
    "N-06",
    "properties hold for random cases that hypothesis draws, other ones in every run",
    "cases per property",
    lacks="thirty nights in a row without a test that fails by chance",
    full=20_000,
    planted=50,
    tests=PROPERTIES,
    faults=(one_ulp,),
    slow=True,
)
def properties(n):
    passed(*PROPERTIES, "-m", "hypothesis", FASTREG_TEST_EXAMPLES=str(n))
    return n


def nan_lost(patch):
    """A twin that takes NaN for 0."""
    plain = reference.SGD.move

    def move(self, g, *rest):
        return plain(self, np.nan_to_num(g, nan=0.0, posinf=np.inf, neginf=-np.inf), *rest)

    patch.setattr(reference.SGD, "move", move)


kept_by(
    "N-09",
    "NaN, infinities, signed zeros and subnormals: IEEE's results where the formula has them, and no warning",
    "tests/optim/test_rules.py::test_same_bits_as_reference",
    "tests/optim/test_extremes.py",
    "tests/penalty/test_elastic.py::test_infinity_and_nan_propagate",
    "tests/penalty/test_group.py::test_nan_and_infinity_stay_in_their_group",
    "tests/norm/test_batch.py::test_nan_stays_in_its_column",
    "tests/sweeps/test_range.py",
    "tests/sweeps/test_range_layers.py",
    lacks="what is left in the processor's flags of exceptions",
    times=20,
    faults=(nan_lost,),
    slow=True,
)


# --- N-07: one hash ----- -----------------------------------------------------------------------


def works():
    """The bytes that a piece of work of each family writes, all of them worth a team."""
    rng = np.random.default_rng(5)
    X, dY = rng.standard_normal((2, 300, 700)).astype(np.float32)
    X[::7, ::5] *= np.float32(1e-38)  # subnormals, which a flush would lose
    for name in fastreg.optim.__all__:
        if name != "Optimizer":
            params = {"w": X.copy(), "b": dY[0].astype(float)}
            optimizer = getattr(fastreg, name)(weight_decay=0.01, clip_norm=1.0)
            for _ in range(2):
                optimizer.update(params, {"w": dY, "b": X[1].astype(float)})
            yield name, params["w"].tobytes() + params["b"].tobytes()
    layers = [
        fastreg.Dropout(0.3, rng=1),
        fastreg.AlphaDropout(0.3, rng=1),
        fastreg.GaussianDropout(0.3, rng=1),
        fastreg.BatchNorm(700),
        fastreg.LayerNorm(700),
        fastreg.GroupNorm(7, 700),
        fastreg.RMSNorm(700),
        *(getattr(fastreg.nn, name)() for name in nn.activations.__all__),
        nn.Dense(700, 50, rng=1),
    ]
    for layer in layers:
        out = layer.forward(X)
        back = layer.backward(dY[:, : out.shape[1]].copy())
        yield type(layer).__name__, out.tobytes() + back.tobytes()
    labels = rng.integers(0, 700, 300)
    yield "softmax_cross_entropy", nn.softmax_cross_entropy(X, labels)[1].tobytes()
    yield "matmul", fastreg.matmul(X, dY.T).tobytes()
    yield "penalties", repr(fastreg.l1_regularization_loss([X], 0.1)).encode()
    yield "soft_threshold", fastreg.soft_threshold(X, 0.1).tobytes()


def hashes():
    return {name: hashlib.sha256(data).hexdigest()[:16] for name, data in works()}


def compared(expected, found, where):
    different = [name for name in expected if expected[name] != found[name]]
    if different:
        raise Broken(f"{where}: {different}")
    return len(expected)


def one_element_by_level(patch):
    """A level whose dropout is one bit off."""
    plain, lowest = fastreg.Dropout.forward, _kernels.levels()[0]

    def forward(self, X, **how):
        Y = plain(self, X, **how)
        return Y if _kernels.level() == lowest else np.nextafter(Y, np.float32(9))

    patch.setattr(fastreg.Dropout, "forward", forward)


@row(
    "N-07",
    "one hash per kernel for 12 thread counts at every level of the CPU",
    "hashes",
    lacks="gradients of gamma, beta and weights, L2 and group penalties and InstanceNorm (their bits are N-01's); hashes of one process are compared (those that are kept are N-07c's)",
    full=20,
    planted=1,
    slow=True,
    faults=(one_element_by_level,),
)
def one_hash(rounds):
    """``rounds`` times all thread counts and levels; the compilers are N-07c."""
    count = 0
    with harness.serial_base():
        expected = hashes()
    for level in _kernels.levels():
        for threads in (1, 2, 3, 4, 5, 7, 8, 13, 16, 31, 32, 64):
            for _ in range(rounds):
                with harness.at_level(level), fastreg.num_threads(threads):
                    count += compared(expected, hashes(), f"{level}, {threads} threads")
    return count
