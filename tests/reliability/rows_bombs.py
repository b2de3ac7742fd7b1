"""C-06c: small files that unpack to large ones."""

import gzip
import io
import random
import tempfile
import tracemalloc
import types
import zipfile
from pathlib import Path

import numpy as np
from charter import Broken, row

from fastreg import checkpoint, data, export, nn
from fastreg.data import binary

ROOM = 4 << 20  # bytes that a reader may take for a file of 16 to 64 million
DTYPES = ("f4", "f8", "i8", "u1", "S30000000", "U9000000", "c16")


def filled(file, size):
    """So many bytes of one kind."""
    for start in range(0, size, 1 << 20):
        file.write(bytes(min(1 << 20, size - start)))


def archive(path, arrays, spare):
    """An archive of arrays with the shapes and dtypes that they claim, and more than that."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, (shape, dtype) in arrays.items():
            with packed.open(f"{name}.npy", "w", force_zip64=True) as file:
                descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
                head = {"descr": descr, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, head)
                filled(file, int(np.prod(shape)) * np.dtype(dtype).itemsize + spare.get(name, 0))


def network(path, pick):
    """A network's arrays, one of them in another shape or dtype, or one more."""
    model = nn.mlp([2, 3, 1], rng=0)
    arrays = {name: (array.shape, array.dtype) for name, array in model.arrays.items()}
    dtype = pick.choice(DTYPES)
    size = max(1, pick.randrange(16_000_000, 64_000_000) // np.dtype(dtype).itemsize)
    shape = pick.choice(((size,), (size, 1), (1, 1, size)))
    arrays[pick.choice([*arrays, "3.W", "1.batches"])] = shape, dtype
    archive(path, arrays, {})
    return lambda: export.load_npz(model, path)


def table(path, pick):
    """Features and targets, with far more behind one of them than its shape says."""
    behind = {pick.choice("Xy"): pick.randrange(16_000_000, 64_000_000)}
    archive(path, {"X": ((4, 2), "f8"), "y": ((4,), "i8")}, behind)
    return lambda: data.read_npz(path)


def images(path, pick):
    """The format of MNIST, with far more behind its arrays than their shape says."""
    axes = pick.randrange(1, 4)
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(bytes([0, 0, 8, axes]) + b"".join(bytes([0, 0, 0, 3]) for _ in range(axes)))
        filled(file, pick.randrange(16_000_000, 64_000_000))
    return lambda: data.read_idx(path)


def padded(path, pick):
    """A header of an array that does not end."""
    text = io.BytesIO()
    text.write(b"\x93NUMPY\2\0" + pick.randrange(16_000_000, 64_000_000).to_bytes(4, "little"))
    filled(text, pick.randrange(16_000_000, 64_000_000))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in ("X.npy", "y.npy"):
            packed.writestr(name, text.getbuffer())
    return lambda: data.read_npz(path)


def unpacked_first(patch):
    """A reader that unpacks an array before it looks at its shape."""
    patch.setattr(export.arrays, "_member", lambda packed, k, known: binary.member(packed, k))


def claims_unread(patch):
    """A reader of archives that does not compare what an array claims with what there is."""

    def claim(packed, place):
        with packed.open(packed.infolist()[place]) as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        return shape, dtype

    patch.setattr(binary, "claim", claim)


def any_header(patch):
    """A reader that takes headers of any length."""
    patch.setattr(binary, "LONGEST_HEADER", 1 << 40)


def unpacked_whole(patch):
    """A reader that unpacks all of a file and looks at it then."""

    whole = types.SimpleNamespace(**vars(gzip))
    whole.GzipFile = lambda fileobj: io.BytesIO(gzip.GzipFile(fileobj=fileobj).read())
    patch.setattr(binary, "gzip", whole)


@row(
    "C-06c",
    "packed files that hold a hundred times more than they should, in each format that is unpacked, are refused by name in less than 4 MiB",
    "files",
    lacks="tables as text, of which a line may have 64 MiB, and files that hold what they claim: they are read",
    full=1_000,
    short=8,
    faults=(unpacked_first, claims_unread, any_header, unpacked_whole),
)
def bombs(n):
    pick = random.Random()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bomb"
        for k in range(n):
            made = (network, table, images, padded)[k % 4]
            call = made(path, pick)
            refused(made.__name__, path, call)
    return n


def refused(kind, path, call):
    size = path.stat().st_size
    tracemalloc.start()
    try:
        call()
    except (ValueError, checkpoint.CheckpointError) as error:
        if str(path) not in str(error) or len(str(error)) > 2000:
            raise Broken(f"{kind}: {error!r:.200}") from None
    else:
        raise Broken(f"{kind}: taken")
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    if most > ROOM:
        raise Broken(f"{kind}: {most} bytes for a file of {size}")
