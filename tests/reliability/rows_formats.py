"""C-09: files of other versions."""

import hashlib
import json
import random
import sys
import tempfile
from pathlib import Path

import rows_files
from charter import TREE, Broken, row

import fastreg
from fastreg import checkpoint

GOLDEN = TREE / "tests" / "golden"


def maker():
    """The module that made the files which are kept."""
    if str(GOLDEN) not in sys.path:
        sys.path.insert(0, str(GOLDEN))
    import make_checkpoints

    return make_checkpoints


def compared(where, found, expected):
    if found != expected:
        raise Broken(f"{where}: {found}, and that version had {expected}")


def older():
    """How many files of earlier versions load with their numbers, and go on from them."""
    made = maker()
    known = json.loads(made.FILE.read_text("utf-8"))
    if fastreg.__version__ not in known:
        raise Broken(f"no files of {fastreg.__version__} are kept")
    for version, expected in known.items():
        for name, sum256 in expected["files"].items():
            data = (made.FOLDER / name).read_bytes()
            compared(f"the file {name}", hashlib.sha256(data).hexdigest(), sum256)
        tree = checkpoint.load(made.FOLDER / f"{version}.states")
        compared(f"numbers of {version}", made.digest(tree), expected["numbers"])
        if "next" in expected:
            compared(f"steps after {version}", made.gone_on(tree), expected["next"])
        if "run" in expected:
            path = made.FOLDER / f"{version}.run"
            compared(path.name, made.digest(checkpoint.load(path)["model"]), expected["run"])
            run = made.run()
            run.load(path)
            compared(f"the end of {path.name}", made.weights(made.trained(run, 8)),
                     expected["run's end"])  # fmt: skip
    return sum(len(expected["files"]) for expected in known.values())


def from_the_future(pick):
    """The bytes of a file of a later format, which may be new in all but how it begins."""
    name = f"fastreg checkpoint {pick.randrange(2, 10 ** pick.randrange(1, 9) + 2)}"
    metadata = {"format": name, "state": pick.choice(("{}", "packed", ""))}
    if pick.random() < 0.5:
        metadata["sha256"] = checkpoint.BLANK
    entries = [
        {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        {"kind": "sparse", "parts": [1, 2]},
        {},
    ]
    header = {"__metadata__": metadata, "w": pick.choice(entries)}
    text = json.dumps(dict(pick.sample([*header.items()], 2))).encode()
    return name, len(text).to_bytes(8, "little") + text + pick.randbytes(pick.choice((0, 4, 64)))


def version_unread(patch):
    """A reader that looks at a file's format after all else."""
    patch.setattr(checkpoint, "_check_format", lambda metadata: None)


def count_lost(patch):
    """An optimizer that begins to count its steps anew."""
    plain = fastreg.Adam.load_state_dict

    def load(self, state):
        plain(self, state | {"t": 0, "steps": [0] * len(state["names"])})

    patch.setattr(fastreg.Adam, "load_state_dict", load)


@row(
    "C-09",
    "files of every earlier version load with its numbers, and its optimizers, layers and runs go on to its bits; a later format is refused by its name, whatever is new in it",
    "files",
    full=20_000,
    short=200,
    faults=(version_unread, count_lost, rows_files.bits_lost),
)
def other_versions(n):
    pick, done = random.Random(), older()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        for _ in range(max(1, n - done)):
            name, data = from_the_future(pick)
            path.write_bytes(data)
            try:
                checkpoint.load(path)
            except checkpoint.CheckpointError as error:
                if repr(name) not in str(error) or str(path) not in str(error):
                    raise Broken(f"refused, but not as {name}: {error}") from None
            else:
                raise Broken(f"{name} was taken")
            done += 1
    return done
