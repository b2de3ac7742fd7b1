"""Checkpoints: round trips, the safetensors library, every kind of damage, and crashes."""

import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fastreg import checkpoint
from fastreg.checkpoint import CheckpointError

few = settings(derandomize=True, max_examples=60, deadline=None)
DTYPES = [np.dtype(code) for code in checkpoint.DTYPES.values()]

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**130), 2**130),
    st.floats(allow_nan=False),
    st.text(),
    st.sampled_from(DTYPES).flatmap(lambda d: arrays(d, array_shapes(min_dims=0, min_side=0))),
)
names = st.text().filter(lambda name: name != checkpoint.REFERENCE)
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
)


def same(a, b):
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def example():
    rng = np.random.default_rng(0)
    return {
        "model": {"0.W": rng.standard_normal((3, 2), dtype=np.float32), "0.b": np.zeros(2)},
        "step": 7,
        "rng": {"state": 2**127 + 1},
        "history": {"loss": [0.5, float("inf")]},
        "empty": np.zeros((0, 4)),
    }


def test_axes_longer_than_any_memory_are_damage():
    entry = {"dtype": "F64", "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}
    header = json.dumps({"a": entry}).encode()
    with pytest.raises(CheckpointError, match="damaged or not a safetensors file"):
        checkpoint.unpack(len(header).to_bytes(8, "little") + header)


def test_a_checksum_without_memory_is_a_memory_error(monkeypatch, tmp_path):
    def starved(*_):
        raise ValueError("[digital envelope routines] malloc failure")

    monkeypatch.setattr(hashlib, "sha256", starved)
    with pytest.raises(MemoryError, match="SHA-256: .*malloc"):
        checkpoint.save(tmp_path / "file", {"a": 1})
    assert not list(tmp_path.iterdir())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.ckpt"


@few
@given(st.dictionaries(names, trees, max_size=4))
def test_a_tree_comes_back_as_it_was(tree):
    assert same(checkpoint.decode(bytes(checkpoint.encode(tree))), tree)


def test_any_layout_and_byte_order_is_stored_as_its_values(path):
    matrix = np.arange(12.0).reshape(3, 4)
    state = {
        "F": np.asfortranarray(matrix),
        "gapped": np.repeat(matrix, 2, axis=1)[:, ::2],
        "swapped": matrix.astype(matrix.dtype.newbyteorder()),
        "scalar": np.float32(0.1),
        "tuple": (1, 2),
    }
    checkpoint.save(path, state)
    loaded = checkpoint.load(path)
    for name in ("F", "gapped", "swapped"):
        np.testing.assert_array_equal(loaded[name], matrix)
        assert loaded[name].flags.c_contiguous and loaded[name].flags.writeable
    assert loaded["scalar"] == float(np.float32(0.1))
    assert loaded["tuple"] == [1, 2]


def test_the_safetensors_library_reads_what_is_written(path):
    safetensors = pytest.importorskip("safetensors")
    state = example()
    checkpoint.save(path, state)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert set(found) == {"model/0.W", "model/0.b", "empty"}
    np.testing.assert_array_equal(found["model/0.W"], state["model"]["0.W"], strict=True)
    np.testing.assert_array_equal(found["empty"], state["empty"], strict=True)
    assert metadata["format"] == checkpoint.FORMAT
    assert json.loads(metadata["state"])["step"] == 7


def test_what_the_safetensors_library_writes_is_read_and_known_to_be_foreign(path):
    safetensors = pytest.importorskip("safetensors.numpy")
    tensors = {
        "b": np.arange(3, dtype=np.int64),
        "a": np.ones((2, 2), np.float32),
        "flag": np.array([True, False]),
    }
    safetensors.save_file(tensors, path, metadata={"format": "np"})
    found, metadata, _ = checkpoint.unpack(path.read_bytes())
    assert metadata == {"format": "np"}
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
    with pytest.raises(CheckpointError, match="not a fastreg checkpoint"):
        checkpoint.load(path)


def test_every_truncation_is_refused():
    data = bytes(checkpoint.encode(example()))
    for length in range(len(data)):
        with pytest.raises(CheckpointError):
            checkpoint.decode(data[:length])
    for more in (b"\0", b" ", data):
        with pytest.raises(CheckpointError):
            checkpoint.decode(data + more)


def test_ten_thousand_edits_are_refused():
    data = checkpoint.encode(example())
    pick = random.Random(1)
    for _ in range(10_000):
        edited = bytearray(data)
        for _ in range(pick.choice((1, 1, 2, 8))):
            edited[pick.randrange(len(edited))] ^= pick.randrange(1, 256)
        if edited != data:
            with pytest.raises(CheckpointError):
                checkpoint.decode(bytes(edited))


def test_every_single_byte_of_the_header_counts():
    data = checkpoint.encode(example())
    for place in range(8 + int.from_bytes(data[:8], "little")):
        for flip in (1, 0x20, 0x80):
            edited = bytearray(data)
            edited[place] ^= flip
            with pytest.raises(CheckpointError):
                checkpoint.decode(bytes(edited))


@few
@given(st.binary(max_size=200))
def test_noise_is_refused(noise):
    for data in (noise, len(noise).to_bytes(8, "little") + noise):
        with pytest.raises(CheckpointError):
            checkpoint.decode(data)


HEADERS = [
    [],
    3,
    {"w": 3},
    {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
    {"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}},
    {"w": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}},
    {"w": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}},
    {"w": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}},
    {"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
    {"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}},
    {"w": {"dtype": [], "shape": [1], "data_offsets": [0, 4]}},
    {"w": {"dtype": "F32", "shape": None, "data_offsets": None}},
    {"__metadata__": []},
    {"__metadata__": {"sha256": 3}},
    {"__metadata__": {"sha256": "\ud800" + 63 * "0"}},
    {"w": {"dtype": "F32", "shape": [0, 2**70], "data_offsets": [0, 0]}},
    {"w": {"dtype": "F32", "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}},
    {"w": {"dtype": "F32", "shape": [1] * 65, "data_offsets": [0, 4]}},
    {"w": {"dtype": "F32", "shape": [2**63 - 1] * 200_000, "data_offsets": [0, 4]}},
    {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}},
    {
        "v": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    },
    {
        "v": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
    },
]


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: str(header)[:80])
def test_headers_that_lie_are_refused(header):
    text = json.dumps(header).encode()
    data = len(text).to_bytes(8, "little") + text
    for body in (b"", b"\0" * 4, b"\0" * 8):
        with pytest.raises(CheckpointError):
            checkpoint.decode(data + body)


def test_a_whole_file_of_another_version_is_refused_by_its_version(path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", "fastreg checkpoint 999")
    checkpoint.save(path, {})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"run.ckpt: .*'fastreg checkpoint 999'"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "entry", [{"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}, {"kind": "sparse"}]
)
def test_another_version_is_refused_by_its_version_whatever_is_new_in_it(path, entry):
    header = {"__metadata__": {"format": "fastreg checkpoint 2", "sha512": "…"}, "w": entry}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 4)
    with pytest.raises(CheckpointError, match=r"run.ckpt: .*'fastreg checkpoint 2', expected"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ([], "state must be a dict"),
        ({1: 2}, "strings as keys, got 1"),
        ({"$array": "x"}, "keys"),
        ({"a": {"b": object()}}, "state/a/b must be an array or a JSON value, got object"),
        ({"a": np.array([object()])}, "state/a must have a dtype of numbers, got object"),
        ({"a": np.array(["x"])}, "dtype of numbers"),
        ({"a": 1j}, "got complex"),
    ],
)
def test_what_cannot_be_stored_is_named_and_nothing_written(path, state, message):
    checkpoint.save(path, {"old": 1})
    with pytest.raises(TypeError, match=f"save: .*{message}".replace("$", r"\$")):
        checkpoint.save(path, state)
    assert checkpoint.load(path) == {"old": 1}
    assert os.listdir(path.parent) == [path.name]


def test_a_refusing_disk_leaves_the_old_file_and_no_other(path, monkeypatch):
    def refuse(*arguments):
        raise OSError("no space left")

    checkpoint.save(path, {"old": 1})
    monkeypatch.setattr(checkpoint.os, "fsync", refuse)
    with pytest.raises(OSError, match="no space left"):
        checkpoint.save(path, {"new": 2})
    assert checkpoint.load(path) == {"old": 1}
    assert os.listdir(path.parent) == [path.name]


def test_the_disk_is_asked_before_and_after_the_rename(path, monkeypatch):
    calls = []
    real = {name: getattr(os, name) for name in ("fsync", "replace")}
    for name, call in real.items():
        monkeypatch.setattr(
            checkpoint.os, name, lambda *a, n=name, c=call: (calls.append(n), c(*a))[1]
        )
    checkpoint.save(path, {})
    assert calls == ["fsync", "replace", "fsync"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 on this platform")
def test_kill_9_during_save_leaves_the_old_file_or_the_new(path):
    pick = random.Random(2)
    checkpoint.save(path, {"array": np.arange(200_000.0), "i": 0})
    server = textwrap.dedent(
        """
        import os, signal, sys, time
        import numpy as np
        from fastreg import checkpoint
        array, path = np.arange(200_000.0), sys.argv[1]
        for line in sys.stdin:
            child = os.fork()
            if not child:
                i = 0
                while True:
                    checkpoint.save(path, {"array": array + i, "i": i})
                    i += 1
            time.sleep(float(line))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            print("killed", flush=True)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", server, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        for _ in range(200):
            process.stdin.write(f"{pick.uniform(0.0005, 0.02)}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "killed\n"
            loaded = checkpoint.load(path)
            np.testing.assert_array_equal(loaded["array"], np.arange(200_000.0) + loaded["i"])
        process.stdin.close()
    assert process.returncode == 0
    checkpoint.save(path, {})
    assert os.listdir(path.parent) == [path.name]  # no orphans of the killed


def test_threads_may_save_to_one_path(path):
    states = [{"array": np.full(50_000, float(i)), "i": i} for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(checkpoint.save, path, state) for state in states * 10]:
            done.result()
    loaded = checkpoint.load(path)
    np.testing.assert_array_equal(loaded["array"], states[loaded["i"]]["array"])
    assert os.listdir(path.parent) == [path.name]


def test_arrays_whose_paths_look_alike_stay_apart():
    state = {
        "a/b": np.zeros(2),
        "a": {"b": np.ones(2)},
        "__metadata__": np.full(3, 2.0),
        "a/b'": np.full(2, 3.0),
    }
    assert same(checkpoint.decode(bytes(checkpoint.encode(state))), state)


@pytest.mark.parametrize("tree", [None, "[", "[1]", "3", '{"$array":"x"}', "[" * 100_000])
def test_a_whole_file_with_another_tree_is_refused(tree):
    metadata = {"format": checkpoint.FORMAT, "sha256": checkpoint.BLANK}
    if tree is not None:
        metadata["state"] = tree
    data = checkpoint.pack({}, metadata)
    digest = hashlib.sha256(data).hexdigest()
    data = bytes(data).replace(checkpoint.BLANK.encode(), digest.encode())
    with pytest.raises(CheckpointError, match="not a checkpoint that save wrote"):
        checkpoint.decode(data)


def sealed(metadata, arrays=None):
    """The bytes of a file whose checksum fits, whatever it says."""
    data = bytes(checkpoint.pack(arrays or {}, {"sha256": checkpoint.BLANK, **metadata}))
    return data.replace(checkpoint.BLANK.encode(), hashlib.sha256(data).hexdigest().encode())


@pytest.mark.parametrize(
    "tree",
    [
        '{"a":1,"a":1}',
        '{"a":{"b":1,"b":2}}',
        '{"a":{"$array":"w"},"b":{"$array":"w"}}',
        "{}",
        '{"a":{"$array":"v"}}',
        '{"a":{"$array":["w"]}}',
        '{"a":' * 100_000,
        "9" * 5000,
    ],
    ids=lambda tree: tree[:40],
)
def test_a_sealed_file_with_a_tree_that_save_does_not_write_is_refused(tree):
    arrays = {"w": np.zeros(2)} if "$" in tree or tree == "{}" else {}
    data = sealed({"format": checkpoint.FORMAT, "state": tree}, arrays)
    with pytest.raises(CheckpointError, match="not a checkpoint that save wrote"):
        checkpoint.decode(data)


def test_names_that_come_twice_are_refused():
    for text in (
        '{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},' * 2 + '"__metadata__":{}}',
        '{"__metadata__":{"a":"1","a":"2"}}',
        '{"w":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
    ):
        text = text.replace("},{", "},").encode()
        with pytest.raises(CheckpointError, match="comes twice"):
            checkpoint.unpack(len(text).to_bytes(8, "little") + text)


@pytest.mark.parametrize(
    ("state", "message"),
    [({"n": 10**5000}, "numbers of JSON"), ({"deep": None}, "tree of few levels")],
)
def test_what_json_cannot_hold_is_named(state, message, path):
    if "deep" in state:
        state["deep"] = state
    with pytest.raises(ValueError, match=f"save: state must .*{message}"):
        checkpoint.save(path, state)
    assert not os.listdir(path.parent)


@pytest.mark.parametrize("header", [0, 1000, 10**8, 2**63, 2**64 - 1])
def test_a_file_that_claims_what_it_does_not_hold_is_refused_unread(header, path):
    """Sizes of the file that no memory has, but which a sparse file may claim."""
    claims = [{}, {"w": {"dtype": "F64", "shape": [2**50], "data_offsets": [0, 2**53]}}]
    for claim, size in itertools.product(claims, (0, 2**20, 2**42)):
        text = json.dumps(claim).encode()
        with open(path, "wb") as file:
            file.write((header or len(text)).to_bytes(8, "little") + text)
            file.truncate(max(size, file.tell()))
        tracemalloc.start()
        try:
            with pytest.raises(
                CheckpointError, match="^.*run.ckpt: .*(truncated|damaged|no checksum)"
            ):
                checkpoint.load(path)
            assert tracemalloc.get_traced_memory()[1] < 5e8
        finally:
            tracemalloc.stop()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this platform")
def test_what_is_no_regular_file_is_not_waited_for(path):
    os.mkfifo(path)
    for other in (path, "/dev/zero"):
        with pytest.raises(CheckpointError, match=f"{other}: not a regular file"):
            checkpoint.load(other)
    with pytest.raises(IsADirectoryError):
        checkpoint.load(path.parent)


@pytest.mark.parametrize("bad", [0, 1, True, None, 3.0, [], "", "a\0b", b"a\0b"])
def test_a_path_is_a_path_and_no_descriptor(bad):
    error = TypeError if not isinstance(bad, (str, bytes)) else ValueError
    with pytest.raises(error, match="^save: path must be"):
        checkpoint.save(bad, {})
    with pytest.raises(error, match="^load: path must be"):
        checkpoint.load(bad)


def test_paths_of_every_kind_are_taken(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    for name in (path, str(path), os.fsencode(path), path.name, os.path.join(".", path.name)):
        checkpoint.save(name, {"name": str(name)})
        assert checkpoint.load(name) == {"name": str(name)}
    assert os.listdir(path.parent) == [path.name]
