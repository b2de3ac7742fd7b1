"""Valid calls of files, data, callbacks, studies, configuration and the lab."""

import numpy as np
from bad_values import called, flag, integer, listed, number, one_of, pandas, path, real, seed
from calls import RATE, add, f32, f64
from calls_layers import DROP
from calls_training import TOGETHER, no_part, table, tried_loss

import fastreg
from fastreg import averages, callbacks, checkpoint, data, lab, nn, train
from fastreg.lab import data as lab_data


def absent(value):
    return None if path(value) else False


add(
    "checkpoint.save",
    lambda: checkpoint.save,
    says="save",
    path=("new.ckpt", path),
    errors=(OSError,),
    state=({"w": np.ones(3)}, lambda v: isinstance(v, dict) and (v in ({}, {"a": "x"}))),
)
add(
    "checkpoint.load",
    lambda: checkpoint.load,
    says="load",
    path=("base.ckpt", absent),
    errors=(OSError, checkpoint.CheckpointError),
)


def column(value):
    """A name in the file, or the place of a column."""
    return None if isinstance(value, str) else integer(-3, 2)(value) and None


def columns(value):
    if value is None or isinstance(value, (str, bytes)):
        return value is None or (None if isinstance(value, str) else False)
    if isinstance(value, (list, tuple, set, dict)) or getattr(value, "ndim", 0):
        return None
    return None if hasattr(value, "__iter__") else column(value)


TABLE = {
    "target": ("y", column),
    "drop": (["x"], columns),
    "missing": ("drop", one_of("refuse", "drop")),
    "words": ("one-hot", one_of("refuse", "one-hot")),
}
add(
    "data.read_csv",
    lambda: data.read_csv,
    says="read_csv",
    path=("base.csv", absent),
    delimiter=(",", lambda v: None),
    header=(True, lambda v: v is None or (flag(v) and None)),
    encoding=("utf-8", lambda v: None),
    errors=(OSError,),
    **TABLE,
)
if pandas is not None:
    add(
        "data.from_frame",
        lambda: data.from_frame,
        says="from_frame",
        frame=(pandas.DataFrame({"x": [1.0, 2.0], "z": [1, 2], "y": [0, 1]}), no_part),
        **TABLE,
    )
add(
    "data.read_npz",
    lambda: data.read_npz,
    says="read_npz",
    path=("base.npz", absent),
    X=("X", lambda v: False),
    y=("y", lambda v: False),
    errors=(OSError,),
)
add(
    "data.read_idx",
    lambda: data.read_idx,
    says="read_idx",
    path=("base.idx", absent),
    errors=(OSError,),
)


def finite_table(value):
    return real(lambda s: len(s) >= 2 and s[0] > 0, values=lambda a: np.isfinite(a).all())(value)


add(
    "data.Standardizer",
    lambda: data.Standardizer,
    says="Standardizer",
    X=(f64(9, 3), lambda v: finite_table(v) and (None if np.ndim(v) > 2 else True)),
)
add(
    "data.Standardizer.__call__",
    lambda: data.Standardizer(f64(9, 3)),
    says="Standardizer",
    X=(f64(9, 3), lambda v: real(lambda s: s[1:] == (3,))(v) and None),
)
add(
    "data.split",
    lambda: data.split,
    says="split",
    also=TOGETHER,
    name=("numbers", lambda v: None),
    X=(f64(9, 3), lambda v: finite_table(v) and (len(v) == 9)),
    y=(np.arange(9) % 3, lambda v: real((9,), kinds="fiubUS")(v) and None),
    validation=(0.2, number(0, 0.8, open_high=True)),
    test=(0.2, number(0, 0.8, open_high=True)),
    standardize=(True, flag),
    rng=(0, seed),
)


add(
    "Checkpoint",
    lambda: callbacks.Checkpoint,
    path=("run.ckpt", path),
    every=(1, integer(1)),
    every_steps=(None, integer(1, none=True)),
)
add(
    "LiveDiagnosis",
    lambda: callbacks.LiveDiagnosis,
    every=(1, integer(1)),
    report=(print, called()),
)


def averaged():
    swa = averages.SWA(0)
    run = train.Trainer(nn.mlp([3, 1], rng=0), nn.mse, fastreg.SGD(), rng=0, callbacks=[swa])
    run.fit(np.ones((4, 3)), np.ones(4), epochs=1)
    return swa


add(
    "SWA",
    lambda: averages.SWA,
    start=(1, integer(0)),
    every=(1, integer(1)),
    learning_rate=(None, number(0, none=True)),
)
add(
    "SWA.apply",
    lambda: averaged().apply,
    X=(f32(4, 3), table()),
    batch_size=(2, integer(1)),
)
add(
    "SWA.load_state_dict",
    lambda: averages.SWA(0).load_state_dict,
    state=(averaged().state_dict(), lambda value: False),
)
add(
    "update_statistics",
    lambda: averages.update_statistics,
    model=(nn.mlp([3, 1], rng=0), no_part),
    X=(f32(4, 3), table()),
    batch_size=(2, integer(1)),
)


def curve(value):
    return real(
        lambda s: len(s) < 2 and 0 not in s, kinds="fiu", values=lambda a: not (a < 0).any()
    )(value)


add(
    "diagnose",
    lambda: fastreg.diagnose,
    train=([1.0, 0.5], curve),
    val=([1.0, 0.6], curve),
    baseline=(1.0, number(0, open_low=True, none=True)),
    high_error=(0.2, RATE),
    gap_ratio=(0.1, RATE),
    gap_floor=(0.1, RATE),
    divergence=(0.2, RATE),
    window=(1, integer(1, none=True)),
)


def one_job(value):
    if integer()(value) and value != 0 and abs(value) < 2**15:
        return True if value == 1 else ...  # other processes
    return value is None


class Mean:
    """The simplest model there is."""

    def fit(self, X, y):
        self.value = y.mean()

    def predict(self, X):
        return np.full(len(X), self.value)


def rows(n):
    return real(lambda s: s[:1] == (n,))


def study(value):
    words = isinstance(value, np.ndarray) and value.dtype.kind == "U"
    return ... if words else rows(4)(value) and None  # the model must read them


def real_targets(value):
    return real((4,), values=lambda a: np.isfinite(a).all())(value)


_study = {
    "X": ("y",),
    "y": ("X", "predictions"),
    "X_test": ("y_test", "predictions"),
    "y_test": ("X_test", "truth"),
}
add(
    "bias_variance",
    lambda: fastreg.bias_variance,
    make_model=(Mean, tried_loss),
    X=(f64(4, 3), study),
    y=(np.arange(4.0), study),
    X_test=(f64(4, 3), study),
    y_test=(np.arange(4.0), real_targets),
    rounds=(2, integer(1, 5)),
    loss=("squared", one_of("squared", "zero_one")),
    truth=(np.arange(4.0), lambda v: v is None or real_targets(v)),
    train_size=(3, integer(1, 9, none=True)),
    rng=(0, seed),
    n_jobs=(1, one_job),
    progress=(False, flag),
    also=_study,
)


add(
    "compare_optimizers",
    lambda: fastreg.compare_optimizers,
    steps=(3, lambda v: ... if integer(101, 2**53)(v) else integer(0, 2**53)(v)),
    optimizers=(
        {"sgd": fastreg.SGD(0.001)},
        lambda v: v is None or (isinstance(v, dict) and not v),
    ),
    start=((-1.0, 1.0), listed(number(), length=2)),
    verbose=(False, flag),
)
THREADS = integer(1, 1024, none=True)


def with_threads():
    def enter(n):
        with fastreg.num_threads(n):
            pass

    return enter


def set_threads():
    def assign(n):
        fastreg.set_num_threads(n)
        fastreg.set_num_threads(None)

    return assign


add("num_threads", with_threads, n=(1, THREADS))
add("set_num_threads", set_threads, n=(1, THREADS))
add("show_config", lambda: fastreg.show_config, file=(None, lambda v: v is None))


add(
    "lab.experiment",
    lambda: lab.experiment,
    says="experiment",
    name=("speed", one_of(*lab.EXPERIMENTS)),
)
add(
    "lab.data.load",
    lambda: lab_data.load,
    says="load",
    data=("wine", absent),
    errors=(OSError, ValueError),
    seed=(0, integer(0)),
    label_noise=(0.1, DROP),
)
