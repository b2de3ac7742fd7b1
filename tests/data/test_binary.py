"""IDX and .npz files: what they hold, and that they hold what they claim."""

import gzip
import random
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest

from fastreg.data import read_idx, read_npz


def idx(array, code):
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.tobytes()


@pytest.mark.parametrize(("code", "dtype"), [(8, "u1"), (9, "i1"), (11, ">i2"), (14, ">f8")])
@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_plain_and_gzipped(code, dtype, packed, tmp_path):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    data = idx(array, code)
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(data) if packed else data)
    found = read_idx(path)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype.newbyteorder("=") and found.flags.writeable
    for damaged in (data[:-1], data + b"\0", data[:3], b"\1" + data[1:], b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="read_idx: .* must"):
            read_idx(path)
    path.write_bytes(gzip.compress(data)[:-9])
    with pytest.raises(ValueError, match="must be whole"):
        read_idx(path)


def test_npz_files(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, X=np.eye(3), labels=[0, 1, 2])
    X, y = read_npz(path, y="labels")
    np.testing.assert_array_equal(X, np.eye(3))
    np.testing.assert_array_equal(y, [0, 1, 2])
    with pytest.raises(ValueError, match=r"read_npz: .*it has \['X', 'labels'\], not \['y'\]"):
        read_npz(path)
    np.savez(path, X=np.array([object()]), y=[0])
    with pytest.raises(ValueError, match="read_npz: "):
        read_npz(path)
    for noise in (b"noise", b"PK\3\4noise"):
        path.write_bytes(noise)
        with pytest.raises(ValueError, match="read_npz: "):
            read_npz(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_npz_file_is_one_clear_error(save, tmp_path):
    path, pick = tmp_path / "data.npz", random.Random(0)
    save(path, X=np.random.default_rng(0).random((9, 3)), y=np.arange(9))
    data, refused = path.read_bytes(), 0
    for _ in range(500):
        edited = bytearray(data)
        for _ in range(4):
            edited[pick.randrange(len(data))] ^= pick.randrange(1, 256)
        path.write_bytes(edited)
        try:
            read_npz(path)
        except ValueError as error:
            assert str(error).startswith(f"read_npz: {path} must hold"), error
            refused += 1
    assert refused > 400


def test_an_idx_file_of_too_many_axes_is_named(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(bytes([0, 0, 8, 99]) + b"\0\0\0\1" * 99 + b"\1")
    with pytest.raises(ValueError, match="read_idx: .* must be an IDX file"):
        read_idx(path)


def bounded(call, message):
    """Refused by name, in little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            call()
        assert tracemalloc.get_traced_memory()[1] < 1e7
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(2**32 - 1,), (2**31, 2**31), (2**32 - 1,) * 32, (1000,), (3,)])
def test_an_idx_file_holds_what_it_claims(packed, shape, tmp_path):
    head = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
    path = tmp_path / "images"
    for data in (head, head[:-1], head + b"1234"):
        path.write_bytes(gzip.compress(data) if packed else data)
        bounded(lambda: read_idx(path), "^read_idx: .*images must have")
    if packed:  # a bomb behind a small claim
        path.write_bytes(gzip.compress(head[:4] + bytes([0, 0, 0, 3] * len(shape)) + bytes(10**8)))
        if len(shape) < 3:
            bounded(lambda: read_idx(path), "^read_idx: .* got more")


def npy(shape, descr="<f8", body=b"", version=1, header=None):
    """A .npy file that says what it is told to."""
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    text = text if header is None else header
    return (
        b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2 * version, "little") + text + body
    )


LIES = {
    "a shape beyond its bytes": npy((2**40,), body=bytes(16)),
    "a shape beyond any address": npy((2**62, 2**62), body=bytes(16)),
    "a shape short of its bytes": npy((1,), body=bytes(16)),
    "a negative shape": npy((-1,), body=bytes(16)),
    "a bomb behind a small shape": npy((1,), body=bytes(10**8)),
    "a header that never ends": npy((), version=2, header=b" " * 10**8),
    "an unknown version": npy((2,), body=bytes(16), version=3),
    "another magic": b"x" * 200,
    "nothing": b"",
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_npz_file_holds_what_it_claims(lie, method, tmp_path):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("X.npy", lie)
        archive.writestr("y.npy", npy((2,), "<i8", bytes(16)))
    bounded(lambda: read_npz(path), "^read_npz: .*data.npz must hold the arrays X and y; .")


def test_an_npz_file_of_other_packing_or_double_names_is_refused(tmp_path):
    path, good = tmp_path / "data.npz", npy((2,), "<i8", bytes(16))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("X.npy", good)
        archive.writestr("y.npy", good)
    bounded(lambda: read_npz(path), "packed in a way that NumPy does not use")
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("X.npy", "X.npy", "y.npy"):
            archive.writestr(name, good)
    bounded(lambda: read_npz(path), "must hold the arrays")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", good)
        archive.writestr("y.npy", good)
    data = path.read_bytes()
    size = len(good).to_bytes(4, "little")
    path.write_bytes(data.replace(size, (2**32 - 2).to_bytes(4, "little")))
    bounded(lambda: read_npz(path), "more than it can hold")


@pytest.mark.parametrize("call", [read_npz, read_idx])
def test_paths_are_no_descriptors(call):
    for bad in (0, True, None, 1.0):
        with pytest.raises(TypeError, match=f"^{call.__name__}: path must be"):
            call(bad)
    with pytest.raises(TypeError, match="^read_npz: y must be a name, got 1"):
        read_npz("data.npz", y=1)
