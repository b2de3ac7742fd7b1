"""Valid calls of training and prediction."""

import numpy as np
from bad_values import flag, integer, listed, one_of, path, real, seed
from calls import add, f32
from calls_layers import LABELS, classes, network, shares

import fastreg
import fastreg.nn as nn
from fastreg import checkpoint, data, schedule, train

X, Y = f32(4, 3), LABELS


def trainer(**options):
    return train.Trainer(
        network(dropout=0.5),
        nn.softmax_cross_entropy,
        fastreg.Adam(),
        rng=0,
        progress=False,
        **options,
    )


def tried_loss(value):
    """A function is tried before its result can be judged."""
    return ... if callable(value) else False


def tried_rows(value):
    """More axes than the first layer takes are found by that layer."""
    return ... if real(lambda s: len(s) > 2)(value) else table()(value)


def judged():
    model = network()
    model.eval()
    return model


def table(n=None, features=3):
    def fits(shape):
        return len(shape) == 2 and shape[1] == features and (shape[0] == n if n else shape[0] > 0)

    return real(fits)


def no_part(value):
    return False


def part(value):
    """A function; whether its result is right shows later."""
    return None if callable(value) else False


def optional_part(value):
    return value is None or part(value)


def parts(value):
    if isinstance(value, (list, tuple, set)):
        return not value
    return None if isinstance(value, np.ndarray) and value.ndim and not value.size else False


add(
    "Trainer",
    lambda: train.Trainer,
    model=(network(), no_part),
    loss=(nn.softmax_cross_entropy, part),
    optimizer=(fastreg.Adam(), no_part),
    schedule=(schedule.constant(0.1), optional_part),
    early_stopping=(None, optional_part),
    penalties=((), parts),
    callbacks=((), parts),
    rng=(0, seed),
    progress=(True, flag),
    metrics=(["auc"], listed(lambda value: False)),
    monitor=("val_loss", lambda value: False),
    mode=("min", one_of("min", "max", none=True)),
    comm=(None, optional_part),
    shards=(2, integer(1, none=True)),
)
_documented = (FloatingPointError,)  # what data that are not finite end in
FIT = {
    "X": (X, table(4)),
    "y": (Y, classes),
    "epochs": (1, lambda value: ... if integer(6)(value) else integer(1)(value)),
    "batch_size": (2, integer(1)),
}


def none(value):
    return value is None


def resumed(value):
    return value is None or (None if path(value) else False)


TOGETHER = {"X": ("y",), "y": ("X",), "X_val": ("y_val",), "y_val": ("X_val",)}
add(
    "Trainer.fit",
    lambda: trainer().fit,
    errors=(*_documented, OSError),
    also=TOGETHER,
    **FIT,
    X_val=(X, table(4)),
    y_val=(Y, classes),
    sample_weight=(np.ones(4), shares(4)),
    evaluate_training=(True, flag),
    accumulate=(2, integer(1)),
    steps_per_epoch=(None, none),
    resume_from=(None, resumed),
)
SOURCE = [(X, Y), (X[:2], Y[:2])]
add(
    "Trainer.fit(source)",
    lambda: trainer().fit,
    says="Trainer.fit",
    errors=_documented,
    X=(SOURCE, lambda value: False if value is not SOURCE else None),
    epochs=FIT["epochs"],
    steps_per_epoch=(3, lambda value: ... if integer(9)(value) else integer(1, none=True)(value)),
    also={"X": ("source", "y")},
)
add(
    "data.Rows",
    lambda: data.Rows,
    says="Rows",
    X=(X, lambda value: None),
    y=(Y, lambda value: None),
    sample_weight=(np.ones(4), lambda value: None),
    block=(2, integer(1, none=True)),
    window=(2, integer(1)),
    shuffle=(False, flag),
    also={"X": ("y", "sample_weight")},
)
add(
    "fit",
    lambda: train.fit,
    says="Trainer",
    errors=_documented,
    also=TOGETHER,
    **FIT,
    model=(network(), no_part),
    loss=(nn.softmax_cross_entropy, tried_loss),
    optimizer=(fastreg.Adam(), no_part),
    rng=(0, seed),
)
add("Trainer.evaluate", lambda: trainer().evaluate, also=TOGETHER, X=(X, table(4)), y=(Y, classes))
add(
    "Trainer.evaluate(source)",
    lambda: trainer().evaluate,
    says="Trainer.evaluate",
    X=(SOURCE, lambda value: False if value is not SOURCE else None),
    also={"X": ("y",)},
)
add("Trainer.predict", lambda: trainer().predict, says=": X must", X=(X, tried_rows))
add("Trainer.predict_proba", lambda: trainer().predict_proba, says=": X must", X=(X, tried_rows))
add("Trainer.save", lambda: trainer().save, path=("run.ckpt", path), errors=(OSError,))
add(
    "Trainer.load",
    lambda: trainer().load,
    path=("base.ckpt", lambda v: None if path(v) else False),
    errors=(OSError, checkpoint.CheckpointError),
)
add(
    "evaluate",
    lambda: train.evaluate,
    also=TOGETHER,
    model=(judged(), no_part),
    X=(X, table(4)),
    y=(Y, classes),
    loss=(nn.softmax_cross_entropy, tried_loss),
)
