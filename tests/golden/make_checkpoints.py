"""Files of one version, to be read for ever: ``python tests/golden/make_checkpoints.py``.

Run by a version before it is released (``PYTHONPATH`` names its tree), it writes
``checkpoints/VERSION.states`` and ``VERSION.run``, and into checkpoints.json what has to come out
of them: the digests of the trees, and of the weights after three more steps by that version. A file
that stands there is never made anew. 0.1.0 was not released: its numbers are read, but what its
optimizers and runs kept is refused by what it lacks.
"""

import hashlib
import json
import pathlib

import numpy as np

import fastreg
from fastreg import EarlyStopping, checkpoint, nn, schedule
from fastreg.train import Trainer

FOLDER = pathlib.Path(__file__).with_name("checkpoints")
FILE = FOLDER / "checkpoints.json"
RULES = ("SGD", "Momentum", "AdaGrad", "RMSprop", "Adam", "AdamW", "NAdam", "RAdam", "Adamax")
RULES += ("Adadelta", "Lion", "Yogi", "Adan", "LAMB", "LARS", "ScheduleFreeAdamW")


def digest(tree):
    """The digest of a tree: names, types, shapes and bits, in the order of the names."""
    if isinstance(tree, dict):
        parts = [f"{{{name}:{digest(tree[name])}" for name in sorted(tree)]
        text = ",".join(parts).encode()
    elif isinstance(tree, (list, tuple)):
        text = ("[" + ",".join(map(digest, tree))).encode()
    elif isinstance(tree, np.ndarray):
        text = f"{tree.dtype.str}{tree.shape}".encode() + tree.tobytes()
    else:
        text = repr(tree).encode()
    return hashlib.sha256(text).hexdigest()[:24]


def numbers():
    """An array of every type, with what is special in it."""
    special = [0.0, -0.0, 1.0, -1.5, float("inf"), -float("inf"), float("nan"), 5e-324, 1e-45]
    found = {"bool": np.array([True, False]), "empty": np.zeros((0, 3)), "scalar": np.array(7.0)}
    for kind in "iu":
        for size in (1, 2, 4, 8):
            limits = np.iinfo(f"{kind}{size}")
            found[f"{kind}{size}"] = np.array([[limits.min, 3, limits.max]], f"<{kind}{size}")
    for size in (2, 4, 8):
        with np.errstate(all="ignore"):
            found[f"f{size}"] = np.array(special).astype(f"<f{size}")
    return found


def stepped(optimizer, params, first, last):
    """Three steps of an optimizer on two tensors of two types."""
    for k in range(first, last):
        slopes = {
            name: ((np.arange(w.size) * 7919 + 31 * k) % 101 - 50).astype(w.dtype).reshape(w.shape)
            / w.dtype.type(64)
            for name, w in params.items()
        }
        optimizer.update(params, slopes)
    return params


def begun():
    return {
        "w": (np.arange(35, dtype=np.float32) / np.float32(32) - np.float32(0.5)).reshape(5, 7),
        "b": np.arange(7.0) / 16,
    }


def rules():
    return [name for name in RULES if hasattr(fastreg, name)]


def states():
    """A tree of numbers, of every optimizer after three steps, and of other parts with a state."""
    tree = {"numbers": numbers(), "optimizers": {}, "text": "é\n\0", "huge": 2**127 + 1}
    for name in rules():
        optimizer, params = getattr(fastreg, name)(0.01), begun()
        stepped(optimizer, params, 0, 3)
        tree["optimizers"][name] = {"params": params, "state": optimizer.state_dict()}
    layer = fastreg.Dropout(0.25, rng=3)
    layer.forward(np.ones((4, 8)))
    norm = fastreg.BatchNorm(7)
    norm.forward(begun()["w"].astype(float))
    stopping = EarlyStopping(patience=5)
    for loss in (3.0, 2.0, 2.5):
        stopping(loss)
    parts = {"Dropout": layer, "BatchNorm": norm, "EarlyStopping": stopping}
    tree["parts"] = {name: part.state_dict() for name, part in parts.items()}
    return tree


def gone_on(tree):
    """Digests of what each part of a tree of states does next."""
    found = {}
    for name, kept in tree["optimizers"].items():
        optimizer = getattr(fastreg, name)(0.01)
        optimizer.load_state_dict(kept["state"])
        params = {key: array.copy() for key, array in kept["params"].items()}
        found[name] = digest(stepped(optimizer, params, 3, 6))
    layer, norm = fastreg.Dropout(0.25, rng=9), fastreg.BatchNorm(7)
    stopping, kept = EarlyStopping(patience=5), tree["parts"]
    layer.load_state_dict(kept["Dropout"])
    found["Dropout"] = digest(layer.forward(np.ones((4, 8))))
    stopping.load_state_dict(kept["EarlyStopping"])
    found["EarlyStopping"] = digest([bool(stopping(loss)) for loss in (2.1, 2.2, 2.3)])
    norm.load_state_dict(kept["BatchNorm"])
    norm.forward(begun()["w"][::-1].astype(float))
    found["BatchNorm"] = digest([norm.running_mean, norm.running_var])
    return found


def run():
    """A run of a network with a norm, a dropout, a schedule and early stopping, not yet begun."""
    layers = [nn.Dense(6, 8, rng=1), fastreg.BatchNorm(8), nn.ReLU(), fastreg.Dropout(0.25, rng=2)]
    return Trainer(
        nn.Sequential([*layers, nn.Dense(8, 3, rng=3)]), nn.softmax_cross_entropy,
        fastreg.AdamW(0.01, weight_decay=0.01), schedule=schedule.cosine(0.01, 60),
        early_stopping=EarlyStopping(patience=50), rng=4, progress=False,
    )  # fmt: skip


def trained(run, epochs):
    """The run after so many epochs in all."""
    X = ((np.arange(40 * 6) * 7919) % 101).reshape(40, 6).astype(np.float32) / np.float32(50) - 1
    y = np.arange(40) % 3
    run.fit(X, y, epochs=epochs, batch_size=8, X_val=X[:10], y_val=y[:10])
    return run


def weights(run):
    return digest(dict(run.model.arrays))


def main():
    FOLDER.mkdir(exist_ok=True)
    name = fastreg.__version__
    paths = [FOLDER / f"{name}.states", FOLDER / f"{name}.run"]
    assert not any(path.exists() for path in paths), "it is there, and stays as it is"
    checkpoint.save(paths[0], states())
    tree = checkpoint.load(paths[0])
    began = trained(run(), 4)
    began.save(paths[1])
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    known[name] = {
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths},
        "numbers": digest(tree),
        "next": gone_on(tree),
        "run": digest(checkpoint.load(paths[1])["model"]),
        "run's end": weights(trained(began, 8)),
    }
    FILE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
