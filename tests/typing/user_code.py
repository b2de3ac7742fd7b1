"""What users write, with every public name: read by type checkers, never run."""

import io
from functools import partial

import numpy as np
import numpy.typing as npt

import fastreg
from fastreg import data, export, metrics, nn, reference, schedule
from fastreg.averages import SWA, update_statistics
from fastreg.callbacks import (
    BestCheckpoint,
    Callback,
    Checkpoint,
    CSVLogger,
    LiveDiagnosis,
    OptunaPruning,
    TensorBoard,
)
from fastreg.checkpoint import CheckpointError, load, save
from fastreg.history import History
from fastreg.lab import EXPERIMENTS, experiment
from fastreg.optim import BIASES_AND_SCALES
from fastreg.sklearn import MLPClassifier, MLPRegressor
from fastreg.study import BiasVariance, Diagnosis
from fastreg.train import Trainer, evaluate, fit

rng = np.random.default_rng(0)
X64 = rng.standard_normal((8, 4))
X: npt.NDArray[np.float32] = X64.astype(np.float32)
labels = np.arange(8) % 2
params = {"W": np.ones((4, 2)), "b": np.zeros(2)}
grads = {name: np.zeros_like(array) for name, array in params.items()}

# --- optimizers ---------------------------------------------------------------------------------

optimizers: list[fastreg.Optimizer] = [
    fastreg.SGD(),
    fastreg.SGD(0.1, lambda_l1=1.0, l1_mode="prox", exclude=["*.b"], compat="torch"),
    fastreg.SGD(schedule.cosine(1e-3, 100), weight_decay=schedule.constant(0.01)),
    fastreg.SGD(lambda step: 0.1 / (1 + step)),
    fastreg.Momentum(0.1, 0.9, nesterov=True, clip_norm=1.0),
    fastreg.AdaGrad(initial_accumulator=0.1, clip_value=1.0),
    fastreg.RMSprop(beta=0.99, centered=True, momentum=0.9),
    fastreg.Adam(1e-3, amsgrad=True, groups={"b*": {"learning_rate": 0.1}}),
    fastreg.AdamW(1e-3, weight_decay=0.01),
    fastreg.AdamW(1e-3, state_dtype="bfloat16", rng=0),
    fastreg.AdamW(1e-3, state_dtype="int8", rng=0),
    fastreg.AdamW(1e-3, master=True),
    fastreg.AdamW(exclude=BIASES_AND_SCALES, ema_decay=0.99, on_nonfinite="skip"),
    fastreg.NAdam(momentum_decay=0.004, exclude=lambda name: name == "b"),
    fastreg.RAdam(lambda_l2=0.01),
    fastreg.Adamax(),
    fastreg.Adadelta(rho=0.95),
    fastreg.Lion(1e-4, 0.9, 0.99),
    fastreg.Momentum(dampening=0.1, maximize=True),
    fastreg.Yogi(1e-2, initial_accumulator=0.0),
    fastreg.LAMB(1e-3, weight_decay=0.01, exclude=BIASES_AND_SCALES),
    fastreg.LARS(1.0, 0.9, 0.001, nesterov=True),
    fastreg.ScheduleFreeAdamW(2.5e-3, warmup_steps=100),
    fastreg.Adan(1e-3, 0.98, 0.92, 0.99, weight_decay=0.02),
]
for optimizer in optimizers:
    optimizer.update(params, grads)
    optimizer.update(list(params.values()), list(grads.values()))
    optimizer.lr = schedule.linear(0.1, 0.0, 100)
    optimizer.lr = 0.1
    optimizer.lr *= 0.5
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.t = optimizer.t + optimizer.skipped
    norm: float = optimizer.grad_norm
adam = fastreg.Adam()
adam.beta1, adam.epsilon, adam.lambda_l1 = 0.8, 1e-6, 0.1
adam.m = {name: np.zeros_like(array) for name, array in params.items()}
first_moment: float = float(adam.m["W"].sum())
adam.swap_ema(params)
kept: int = len(adam.masters)
blocks: int = len(adam.scales)
free = fastreg.ScheduleFreeAdamW()
free.update(params, grads)
free.swap_ema()
usable: npt.NDArray[np.float64] = free.x["W"] if free.averaged else params["W"]
reference.Adam(1e-3).update(params, grads)

# --- layers -------------------------------------------------------------------------------------

batch_norm = fastreg.BatchNorm(4, momentum=None, axis=-1)
layers = [
    batch_norm,
    fastreg.LayerNorm((2, 4), 1e-6),
    fastreg.LayerNorm(4, affine=False),
    fastreg.RMSNorm(4),
    fastreg.GroupNorm(2, 4),
    fastreg.InstanceNorm(4),
    fastreg.Dropout(0.5, rng=0, noise_shape=(None, 1)),
    fastreg.SpatialDropout(0.5, rng=np.random.default_rng(0)),
    fastreg.AlphaDropout(),
    fastreg.GaussianDropout(0.2, rng=[1, 2]),
    fastreg.StochasticDepth(mode="batch"),
]
for layer in layers:
    layer.train()
    Y = layer.forward(X, out=np.empty_like(X))
    layer.backward(Y, out=Y).mean(axis=0)
    layer.forward(X64).mean(axis=0)
    layer.eval()
gamma = batch_norm.gamma * 2
batch_norm.load_state_dict(batch_norm.state_dict())
W, b = batch_norm.fold_into(params["W"], params["b"])
connect = fastreg.DropConnect(0.5)
connect.backward(connect.forward(W))
connect.reset(call=3)

# --- penalties ----------------------------------------------------------------------------------

loss: float = fastreg.l1_regularization_loss(params, 0.1) + fastreg.l2_regularization_loss(W)
product: npt.NDArray[np.float32] = fastreg.matmul(X, X.T, out=np.empty((8, 8), np.float32))
same: npt.NDArray[np.float32] = fastreg.l1_gradient(X, 0.1, out=X)
shapes = {name: g.shape for name, g in fastreg.l2_gradient(params).items()}
value, slopes = fastreg.penalty_and_gradient([W, b], lambda_l1=0.1)
last = slopes[-1].sum() + value
fastreg.soft_threshold(W, 0.1)
fastreg.ElasticNet(0.1, 0.2).prox(params, 0.5)["W"].sum()
fastreg.GroupLasso(0.1, axis=(0, 1)).value_and_gradient(W)
fastreg.max_norm(fastreg.unit_norm(W, axis=1), 1.0)
share: float = fastreg.near_zero(params).share
counts, edges = fastreg.weight_histogram(params, bins=10)

# --- schedules and steering ---------------------------------------------------------------------

rates = [
    schedule.constant(0.1),
    schedule.step(0.1, drop_factor=0.5, drop_every=10),
    schedule.multi_step(0.1, [10, 20]),
    schedule.exponential(0.1, 0.9, decay_steps=10),
    schedule.inverse_time(0.1, 0.5),
    schedule.polynomial(0.1, 0.0, 100, power=2.0),
    schedule.linear(0.1, 0.0, 100),
    schedule.cosine(1e-3, 100),
    schedule.warm_restarts(0.1, 10, period_factor=2),
    schedule.one_cycle(0.1, 100),
    schedule.warmup_stable_decay(0.1, 5, 10, 5),
    schedule.join([schedule.constant(0.1), lambda step: 0.01], [5]),
    schedule.warmup(schedule.cosine(0.1, 95), warmup_steps=5),
    schedule.warmup(schedule.cosine(1e-3, total="fit"), "5%"),
    schedule.step(0.1, 0.5, every="10 epochs").bind(steps_per_epoch=100),
    schedule.linear(0.1, 0.0, total="fit").bind(steps_per_epoch=100, epochs=3),
    schedule.one_cycle(0.1, total=100),
    schedule.join([schedule.constant(0.1), schedule.polynomial(0.1, 0, total="fit")], ["50%"]),
]
for rate in rates:
    number: float = rate(0)
    curve = rate([0, 50, 100]).tolist()
    steps, values = rate.curve(100)
tenth: float = fastreg.step_decay(10) + fastreg.cosine_annealing(10, 100)
fastreg.warmup_schedule(np.arange(10)).max()
fastreg.warmup_cosine(3, total_epochs=10, warmup_epochs=2)
plateau = fastreg.ReduceOnPlateau(0.1, patience=3)
lower: float = plateau.update(0.5)
stopping = fastreg.EarlyStopping(patience=5, restore_best=True, verbose=False)
if stopping(0.5, params) and stopping.stop_reason:
    params = stopping.restore(params)
best = [run.best_epoch for run in fastreg.EarlyStopping.replay([0.9, 0.5], patience=[2, 3])]

# --- networks and training ----------------------------------------------------------------------

activations = [nn.ReLU(), nn.LeakyReLU(0.1), nn.Tanh(), nn.Sigmoid(), nn.GELU()]
model = nn.Sequential([nn.Dense(4, 3, rng=0, dtype=np.float64), *activations, nn.Dense(3, 2)])
names = [name for name in model.params if name.endswith(nn.PARAMETERS)]
table = model.summary((4,))
print(table, table.rows[0].output_shape, table.parameters + table.bytes)
error, slope = nn.softmax_cross_entropy(model.forward(X64), labels, label_smoothing=0.1)
model.backward(slope, input_gradient=False)
nn.mse(X64, X64.tolist())
nn.binary_cross_entropy(X64[:, :1], labels)
nn.softmax_cross_entropy(X64, X64.tolist(), ignore_index=-1)
nn.mae(X64, X64.tolist(), sample_weight=[1.0])
nn.huber(X64, X64, delta=0.5)
nn.quantile(X64, X64, q=0.9)
nn.poisson(X64, labels)
nn.focal(X64, labels, gamma=2.0, alpha=None)


class Print(Callback):
    """A callback of one's own."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        print(epoch, self.trainer.history)


net = nn.mlp([4, 8, 8, 2], norm="layer", dropout=[0.5, 0.1], input_dropout=0.1)
export.npz(net, "weights.npz")
export.load_npz(net, "weights.npz")
export.onnx(net, "model.onnx", link="softmax")
module = export.torch(net)
export.from_torch(module).forward(X)
export.load_torch_state(net, export.torch_state(net))
smooth = partial(nn.softmax_cross_entropy, label_smoothing=0.1)
trainer = Trainer(
    nn.mlp([4, 8, 2], batch_norm=True, dropout=0.5, rng=0),
    smooth,
    fastreg.AdamW(),
    schedule=plateau,
    early_stopping=stopping,
    penalties=[fastreg.ElasticNet()],
    callbacks=[Checkpoint("run.ckpt", every=2), LiveDiagnosis(report=print), Print()],
    progress=False,
    rng=0,
)
swa = SWA(start=1, every=1, learning_rate=1e-3)
update_statistics(trainer.model, X, batch_size=4)
swa_steps: int = swa.count


def bias(y_true: npt.NDArray[np.float64], y_pred: npt.NDArray[np.float64]) -> float:
    return float(np.mean(y_pred - y_true))


watched = Trainer(
    model,
    smooth,
    fastreg.Adam(),
    metrics=["auc", metrics.f1, bias, metrics.Metric(bias, "b", needs="probabilities", mode="min")],
    monitor="val_auc",
    mode="max",
    callbacks=[
        BestCheckpoint("best.ckpt", monitor="val_b"), CSVLogger("run.csv"), TensorBoard("runs"),
        OptunaPruning(object(), monitor="val_auc"),
    ],
)  # fmt: skip
shared = Trainer(model, smooth, fastreg.Adam(), comm=None, shards=4)
drawn: History = watched.fit(X, labels, epochs=1)
print(drawn.plot(), drawn.best_epoch("loss", "min"), watched.recorded["loss"])
scores: list[float] = [
    metrics.accuracy(labels, labels), metrics.balanced_accuracy(labels, labels),
    metrics.f1(labels, labels, average="macro"), metrics.auc(labels, X[:, 0], sample_weight=labels),
    metrics.log_loss(labels, X64[:, 0]), metrics.mae(X64, X64), metrics.r2(X64, X64.tolist()),
]  # fmt: skip
history = trainer.fit(X, labels, X_val=X, y_val=labels, epochs=2, sample_weight=[1.0] * 8)
final: float = history["loss"][-1]
source: data.Source = data.Rows(X, labels, block=4, window=2, shuffle=False)
listed: data.Batches = [(X, labels), (X[:3], labels[:3])]
trainer.fit(source, X_val=listed, epochs=1, batch_size=4, accumulate=2)
trainer.fit(lambda: iter(listed), epochs=2, steps_per_epoch=2)["loss"]
classes = trainer.predict(X) == labels
trainer.predict_proba(X).sum(axis=1)
error, accuracy = trainer.evaluate(X, labels)
error, accuracy = trainer.evaluate(source)
evaluate(model, nn.softmax_cross_entropy, X, labels)
evaluate(model, "softmax_cross_entropy", X, labels)
fit(model, nn.softmax_cross_entropy, fastreg.Adam(0.1), X.tolist(), labels, epochs=5, rng=0)
try:
    save("mine.ckpt", {"model": model.state_dict(), "epoch": 3})
    state = load("mine.ckpt")["model"]
except CheckpointError as damaged:
    print(damaged)

# --- scikit-learn's estimators ------------------------------------------------------------------

network = MLPClassifier(
    (8,), dropout=[0.2], norm="batch", optimizer=fastreg.Lion(), dtype="float32"
)
network.fit(X, labels, X_val=X, y_val=labels)
right: float = network.partial_fit(X, labels).score(X, labels)
chances: npt.NDArray[np.float64] = network.predict_proba(X)
losses: list[float] = network.set_params(alpha=0.1).loss_curve_ + network.loss_curve_
numbers = MLPRegressor("poisson", schedule="cosine", optimizer="adamw").fit(X, X64[:, 0]).predict(X)

# --- data and studies ---------------------------------------------------------------------------

features, target = data.read_csv("mine.csv", target="label", drop=["id"], missing="drop")
features, target = data.read_npz("mine.npz")
images = data.read_idx("images.idx")
features, target = data.from_frame({"a": [1.0]}, target=-1)
parts: data.Dataset = data.split("mine", X, labels, validation=0.1, rng=0)
scaled = data.Standardizer(parts.X_train)(parts.X_test)
verdict: Diagnosis = fastreg.diagnose([1.0, 0.5], [1.1, 0.6], baseline=2.3)
print(verdict.verdict, verdict.evidence["gap_limit"])
spread: BiasVariance = fastreg.bias_variance(lambda: model, X, labels, X, labels, rounds=3)
paths = fastreg.compare_optimizers(optimizers={"SGD": fastreg.SGD(1e-3)}, steps=10)
result = experiment(EXPERIMENTS[0])

# --- configuration ------------------------------------------------------------------------------

fastreg.set_num_threads(2)
with fastreg.num_threads(1):
    threads: int = fastreg.get_num_threads()
with fastreg.products("blas"):
    nn.mlp([4, 2], products="own")
fastreg.empty_cache()
fastreg.show_config(file=io.StringIO())
