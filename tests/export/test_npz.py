"""Networks in ``.npz`` files: what is written, read back, and refused."""

import os
import pickle
import re
import tracemalloc
import zipfile

import harness
import numpy as np
import pytest

import fastreg
from fastreg import export, nn
from fastreg.checkpoint import CheckpointError


def trained(seed=0, **options):
    """A network after some steps of training: running statistics have moved."""
    rng = np.random.default_rng(seed)
    model = nn.mlp([5, 8, 7, 3], rng=seed, **options)
    dtype = model.dtype
    for _ in range(3):
        _, gradient = nn.softmax_cross_entropy(
            model.forward(rng.normal(size=(16, 5)).astype(dtype)), rng.integers(0, 3, 16)
        )
        model.backward(gradient)
        fastreg.SGD(0.1).update(model.params, model.grads)
    return model


NETWORKS = [
    {},
    {"norm": "batch", "dropout": 0.2},
    {"norm": "layer", "activation": "gelu", "dtype": "float64"},
    {"norm": "batch", "backend": "reference"},
]


@pytest.mark.parametrize("options", NETWORKS, ids=str)
def test_a_network_comes_back(options, tmp_path, rng):
    first, second = trained(0, **options), trained(1, **options)
    path = tmp_path / "weights.any"
    export.npz(first, path)
    with np.load(path, allow_pickle=False) as archive:
        assert set(archive) >= set(first.arrays)
        for name, array in first.arrays.items():
            harness.same_bits(archive[name], array)
    before = {k: v for k, v in second.state_dict().items() if k.endswith((".key", ".call"))}
    export.load_npz(second, path)
    for name, array in first.arrays.items():
        harness.same_bits(second.arrays[name], array)
    found = second.state_dict()
    assert {name: found[name] for name in before} == before  # masks go on as they were
    first.eval(), second.eval()
    X = rng.normal(size=(9, 5)).astype(first.dtype)
    harness.same_bits(second.forward(X), first.forward(X))


def test_batches_are_kept(tmp_path):
    first, second = trained(0, norm="batch"), nn.mlp([5, 8, 7, 3], rng=1, norm="batch")
    export.npz(first, tmp_path / "w.npz")
    export.load_npz(second, tmp_path / "w.npz")
    assert second.layers[1].batches == first.layers[1].batches == 3


def test_the_same_arrays_are_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        export.npz(trained(0, norm="batch"), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["one", "two"]  # no ending added, nothing left behind


def test_what_does_not_fit_changes_nothing(tmp_path):
    model, path = trained(), tmp_path / "w.npz"
    export.npz(nn.mlp([5, 8, 3], rng=0), path)
    before = model.state_dict()
    with pytest.raises(CheckpointError, match=r"w.npz: .*4.W is missing.*2.W is float32 of shape"):
        export.load_npz(model, path)
    harness.same_states(model.state_dict(), before)


class Evil:
    """What runs code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def bad_files(folder):
    good = folder / "good.npz"
    export.npz(trained(), good)
    data = good.read_bytes()
    yield b"", "no .npz file"
    yield b"PK\x03\x04" + bytes(30), "no .npz file"
    yield data[: len(data) // 2], "no .npz file"
    at = data.index(b"0.W.npy") + 300
    yield data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :], "damaged"
    np.save(folder / "single.npy", np.ones(3))
    yield (folder / "single.npy").read_bytes(), "a single array"
    evil = Evil()
    evil.path = folder / "made"
    yield pickle.dumps(evil), "no .npz file"
    with zipfile.ZipFile(folder / "evil.npz", "w") as archive, archive.open("0.W.npy", "w") as file:
        np.lib.format.write_array(file, np.array([evil], object), allow_pickle=True)
    yield (folder / "evil.npz").read_bytes(), "no .npz file, or damaged"


def test_damaged_files_are_refused_and_nothing_is_run(tmp_path):
    model = trained()
    before = model.state_dict()
    for data, message in bad_files(tmp_path):
        path = tmp_path / "bad.npz"
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=message):
            export.load_npz(model, path)
    harness.same_states(model.state_dict(), before)
    assert not (tmp_path / "made").exists()


def test_a_whole_state_may_be_loaded(tmp_path):
    first, second = (nn.mlp([5, 8, 3], rng=seed, dropout=0.5) for seed in (0, 1))
    state = first.state_dict()
    np.savez(tmp_path / "w.npz", **state)
    export.load_npz(second, tmp_path / "w.npz")
    assert second.state_dict()["2.key"] == state["2.key"]
    harness.same_states(second.state_dict(), state)


@pytest.mark.parametrize(("name", "dtype"), [("9.W", "f8"), ("0.W", "f8"), ("0.b", "S10000000")])
def test_what_does_not_fit_is_not_unpacked(name, dtype, tmp_path):
    arrays = {**trained().arrays, name: np.zeros(10**7 // np.dtype(dtype).itemsize, dtype)}
    np.savez_compressed(tmp_path / "w.npz", **arrays)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=rf"w\.npz: .*{re.escape(name)}"):
            export.load_npz(trained(), tmp_path / "w.npz")
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_changed_byte_raises_anything_else(save, tmp_path, fixed_rng):
    model, path = trained(norm="batch"), tmp_path / "w.npz"
    save(path, **{k: v for k, v in model.state_dict().items() if not k.endswith((".key", ".call"))})
    good = path.read_bytes()
    export.load_npz(model, path)
    for at in range(0, len(good), 3):
        bad = bytearray(good)
        bad[at] ^= fixed_rng.integers(1, 256)
        path.write_bytes(bad)
        try:
            export.load_npz(model, path)
        except CheckpointError as error:
            assert str(path) in str(error)


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(TypeError, match=r"npz: model must be a fastreg.nn.Sequential, got Dense"):
        export.npz(nn.Dense(1, 1), tmp_path / "w.npz")
    with pytest.raises(TypeError, match="npz: path must be a str or a path, got 3"):
        export.npz(trained(), 3)
    with pytest.raises(OSError, match="nowhere"):
        export.load_npz(trained(), tmp_path / "nowhere.npz")
    with pytest.raises(OSError, match="none"):
        export.npz(trained(), tmp_path / "none" / "w.npz")
