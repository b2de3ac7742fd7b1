"""C-01b: runs of all that can be put together, saved anywhere and taken up."""

import contextlib
import random
import tempfile
from pathlib import Path

import numpy as np
from charter import Broken, row

import fastreg
from fastreg import averages, callbacks, checkpoint, nn, optim, plateau, schedule, stopping
from fastreg.train import Trainer

ROWS, CLASSES, STEPS = 60, 3, 30
LAYERS = {
    "norm": [
        lambda n: fastreg.BatchNorm(n),
        lambda n: fastreg.BatchNorm(n, momentum=None),
        lambda n: fastreg.BatchNorm(n, affine=False, unbiased_running_var=True),
        lambda n: fastreg.LayerNorm(n),
        lambda n: fastreg.RMSNorm(n),
        lambda n: fastreg.GroupNorm(2, n),
    ],
    "gate": [nn.ReLU, nn.LeakyReLU, nn.GELU, nn.Tanh, nn.Sigmoid],
    "noise": [
        lambda rng: fastreg.Dropout(0.3, rng=rng),
        lambda rng: fastreg.Dropout(0.3, rng=rng, inverted=False),
        lambda rng: fastreg.AlphaDropout(0.3, rng=rng),
        lambda rng: fastreg.GaussianDropout(0.3, rng=rng),
        lambda rng: fastreg.StochasticDepth(0.3, rng=rng),
        lambda rng: fastreg.StochasticDepth(0.3, mode="batch", rng=rng),
    ],
}
LOSSES = ["softmax_cross_entropy", "binary_cross_entropy", "focal", "mse", "mae", "huber"]
LOSSES += ["quantile", "poisson"]
SERVICES = {
    "lambda_l1": 0.001, "lambda_l2": 0.01, "l1_mode": "prox", "clip_norm": 0.5, "clip_value": 0.1,
    "weight_decay": 0.01, "ema_decay": 0.9, "on_nonfinite": "skip", "state_dtype": "bfloat16",
}  # fmt: skip
OWN = {"Adam": {"amsgrad": True}, "Momentum": {"nesterov": True}, "ScheduleFreeAdamW":
       {"warmup_steps": 5.0}, "RMSprop": {"centered": True, "momentum": 0.9}}  # fmt: skip
SCHEDULES = [
    lambda: None,
    lambda: schedule.cosine(0.02, STEPS),
    lambda: schedule.warmup(schedule.exponential(0.02, 0.9), 6),
    lambda: schedule.one_cycle(0.02, STEPS),
    lambda: schedule.join([schedule.constant(0.02), schedule.step(0.01, drop_every=4)], [11]),
    lambda: schedule.warm_restarts(0.02, 7),
    lambda: plateau.ReduceOnPlateau(0.02, patience=1),
]
FOLLOWERS = [
    lambda folder: None,
    lambda folder: averages.SWA(1),
    lambda folder: callbacks.BestCheckpoint(folder / "best", monitor="loss"),
    lambda folder: callbacks.CSVLogger(folder / "log.csv"),
]


class Cut(callbacks.Callback):
    """Saves a run after a step, and ends it there in one way or another."""

    def __init__(self, step, path, how):
        self.at, self.path, self.how = step, path, how

    def on_train_batch_end(self, batch, logs=None):
        if self.trainer.step == self.at:
            self.trainer.save(self.path)
            if self.how == "raise":
                raise InterruptedError
            self.trainer.stop_training = True


class Plan:
    """What one run is made of; `run` makes it anew, with other weights and seeds each time."""

    def __init__(self, pick):
        self.layers = [(kind, pick.choice(LAYERS[kind])) for kind in pick.choices([*LAYERS], k=4)]
        self.loss, self.dtype = pick.choice(LOSSES), pick.choice(["float32", "float64"])
        self.optimizer = pick.choice(optim.__all__)
        asked = pick.sample([*SERVICES], pick.randrange(4))
        if self.dtype == "float64" and "state_dtype" in asked:
            asked.remove("state_dtype")  # which is for float32
        self.services = {name: SERVICES[name] for name in asked}
        if pick.random() < 0.5:
            self.services |= OWN.get(self.optimizer, {})
        self.schedule, self.follower = pick.choice(SCHEDULES), pick.choice(FOLLOWERS)
        self.patience = pick.choice([None, 1, 50])
        self.shards, self.accumulate = pick.choice([None, None, 1, 3]), pick.choice([1, 1, 2, 3])
        self.batch_size, self.validated = pick.choice([7, 16, 30, 64]), pick.random() < 0.6
        self.weighted, self.data = pick.random() < 0.3, pick.randrange(1 << 30)
        self.ends, self.at = pick.choice(["stop", "raise"]), pick.random()

    def network(self, seed):
        layers = [nn.Dense(4, 6, rng=seed, dtype=self.dtype)]
        for k, (kind, make) in enumerate(self.layers):
            given = {"norm": [6], "gate": [], "noise": [seed + k]}[kind]
            layers.append(make(*given))
            for name in ("gamma", "beta"):  # which are of float64 otherwise
                if getattr(layers[-1], name, None) is not None:
                    setattr(layers[-1], name, getattr(layers[-1], name).astype(self.dtype))
        return nn.Sequential([*layers, nn.Dense(6, CLASSES, rng=seed + 9, dtype=self.dtype)])

    def run(self, seed, folder, *more):
        folder.mkdir(exist_ok=True)
        optimizer = getattr(fastreg, self.optimizer)(0.02, rng=seed, **self.services)
        stop = self.patience and stopping.EarlyStopping(patience=self.patience, verbose=False)
        followers = [one for one in (self.follower(folder), *more) if one]
        return Trainer(
            self.network(seed), getattr(nn, self.loss), optimizer, schedule=self.schedule(),
            early_stopping=stop, rng=seed, callbacks=followers, progress=False, shards=self.shards,
        )  # fmt: skip

    def fit(self, run, **options):
        rng = np.random.default_rng(self.data)
        X = rng.standard_normal((ROWS, 4)).astype(self.dtype)
        y = rng.integers(0, 2, (ROWS, CLASSES)).astype(self.dtype)
        if self.loss == "softmax_cross_entropy":
            y = rng.integers(0, CLASSES, ROWS)
        if self.validated:
            options |= {"X_val": X[::3], "y_val": y[::3]}
        if self.weighted:
            options["sample_weight"] = rng.uniform(0.5, 2, ROWS)
        steps = -(-ROWS // (self.batch_size * self.accumulate))
        return run.fit(
            X, y, epochs=-(-STEPS // steps), batch_size=self.batch_size,
            accumulate=self.accumulate, **options,
        )  # fmt: skip


def same(one, other):
    """Whether two states are equal, bit for bit; times are left out."""
    if isinstance(one, dict):
        names = [name for name in one if name not in ("seconds", "ms_per_step", "sha256")]
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in names)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (np.ndarray, np.generic)):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    return type(one) is type(other) and (one == other or (one != one and other != other))


def another_seed(patch):
    """A run that is taken up with the dropout of its own network."""
    plain = nn.Sequential.load_state_dict

    def load(self, state):
        own = self.state_dict()
        plain(self, {k: own[k] if k.endswith(".call") else v for k, v in state.items()})

    patch.setattr(nn.Sequential, "load_state_dict", load)


def slots_forgotten(patch):
    """An optimizer whose means are zeros when it is taken up."""
    plain = fastreg.Optimizer.load_state_dict

    def load(self, state):
        plain(self, {k: v * 0 if isinstance(v, np.ndarray) else v for k, v in state.items()})

    patch.setattr(fastreg.Optimizer, "load_state_dict", load)


def stopping_forgotten(patch):
    """Early stopping that begins anew."""
    patch.setattr(stopping.EarlyStopping, "load_state_dict", lambda self, state: None)


@row(
    "C-01b",
    "a run drawn at random (layers, loss, optimizer and its services, schedule, stopping, averages, shards, accumulation, weights), saved after any step and taken up by one with other weights and seeds, ends with the same bits",
    "runs",
    full=5_000,
    short=12,
    planted=60,
    lacks="the files that callbacks write, and whole runs of more than 60 steps or on several processes",
    faults=(another_seed, slots_forgotten, stopping_forgotten),
)
def taken_up(n):
    pick = random.Random()
    for _ in range(n):
        drawn = pick.randrange(1 << 60)
        with tempfile.TemporaryDirectory() as folder:
            compared(Plan(random.Random(drawn)), Path(folder), drawn)
    return n


def ended(plan, run, **options):
    """How a run ends: some diverge, and say where. They have weights again that were kept: those
    of the last epoch, or those of the file from which they were taken up."""
    try:
        plan.fit(run, **options)
    except FloatingPointError as error:
        return str(error).split(";")[0]
    except checkpoint.CheckpointError as error:
        raise Broken(f"refused: {error}") from error


def compared(plan, folder, drawn):
    whole = plan.run(1, folder / "whole")
    end = ended(plan, whole)
    at, cut = 1 + int(plan.at * whole.step), folder / "cut"
    first = plan.run(1, folder / "first", Cut(at, cut, plan.ends))
    with contextlib.suppress(InterruptedError):
        ended(plan, first)
    if end and not cut.exists():
        return  # in that step it diverged
    second = plan.run(5, folder / "second", Cut(0, cut, "stop"))
    if ended(plan, second, resume_from=cut) != end:
        raise Broken(f"Plan(random.Random({drawn})), cut after step {at}, ends in another way")
    if end:
        return
    states = []
    for run in (whole, second):
        run.save(folder / "end")
        states.append(checkpoint.load(folder / "end"))
    if not same(*states):
        raise Broken(f"Plan(random.Random({drawn})), cut after step {at} of {whole.step}")
