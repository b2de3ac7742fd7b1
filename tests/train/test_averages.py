"""Averages of the weights over the end of a run, against torch's own."""

import numpy as np
import pytest

from fastreg import SGD, BatchNorm, averages, schedule
from fastreg.averages import SWA, update_statistics
from fastreg.callbacks import Callback, Checkpoint
from fastreg.nn import Dense, ReLU, Sequential, mlp, mse
from fastreg.train import Trainer

rng = np.random.default_rng(0)
X = rng.normal(size=(50, 3))
y = X @ rng.normal(size=(3, 1)) + 1.0


class Keep(Callback):
    """The weights after every epoch, and the rate of its last step."""

    def __init__(self):
        self.weights, self.rates = [], []

    def on_epoch_end(self, epoch, logs=None):
        params = self.trainer.model.params
        self.weights.append({name: array.copy() for name, array in params.items()})
        self.rates.append(self.trainer.optimizer.lr)


def network():
    norm = BatchNorm(4, unbiased_running_var=True)
    return Sequential(
        [
            Dense(3, 4, rng=0, dtype=np.float64),
            norm,
            ReLU(),
            Dense(4, 1, rng=1, dtype=np.float64),
        ]
    )


def trained(callbacks, epochs=8, **settings):
    run = Trainer(network(), mse, SGD(0.1), rng=0, callbacks=callbacks, progress=False, **settings)
    run.fit(X, y, epochs=epochs, batch_size=16)
    return run


@pytest.mark.parametrize(("start", "every"), [(0, 1), (3, 1), (2, 3), (7, 5)])
def test_the_average_is_that_of_the_epochs_it_names(start, every):
    keep, swa = Keep(), SWA(start, every=every)
    trained([keep, swa])
    taken = keep.weights[start::every]
    assert swa.count == len(taken)
    for name, mean in swa.mean.items():
        np.testing.assert_allclose(mean, np.mean([w[name] for w in taken], 0), rtol=1e-13)


def test_weights_and_statistics_are_those_of_torch():
    torch = pytest.importorskip("torch")
    from torch.optim.swa_utils import AveragedModel, update_bn

    layers = torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4, eps=1e-5), torch.nn.ReLU()
    net = torch.nn.Sequential(*layers, torch.nn.Linear(4, 1)).double()
    averaged = AveragedModel(net)
    keep, swa = Keep(), SWA(3)
    run = trained([keep, swa])
    run.model.layers[1].epsilon = 1e-5
    for weights in keep.weights[3:]:
        ours = [weights[f"{i}.{name}"] for i, name in
                ((0, "W"), (0, "b"), (1, "gamma"), (1, "beta"), (3, "W"), (3, "b"))]  # fmt: skip
        with torch.no_grad():
            for theirs, array in zip(net.parameters(), ours, strict=True):
                theirs.copy_(torch.from_numpy(array.T if array.ndim == 2 and len(theirs.shape) == 2
                                              else array.reshape(theirs.shape)))  # fmt: skip
        averaged.update_parameters(net)
    batches = [torch.from_numpy(X[begin : begin + 16]) for begin in range(0, 50, 16)]
    update_bn(batches, averaged)
    averaged.eval()
    swa.apply(X, batch_size=16)
    norm = averaged.module[1]
    for mine, theirs in (("running_mean", norm.running_mean), ("running_var", norm.running_var)):
        found = getattr(run.model.layers[1], mine).ravel()
        np.testing.assert_allclose(found, theirs.numpy(), rtol=1e-12)
    with torch.no_grad():
        wanted = averaged(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(run.model.forward(X), wanted, rtol=1e-11, atol=1e-13)


def test_a_constant_rate_from_the_start_on():
    keep = Keep()
    trained([SWA(5, learning_rate=0.01), keep])
    assert keep.rates == [0.1] * 5 + [0.01] * 3
    with pytest.raises(ValueError, match="SWA: learning_rate must be None where the Trainer has a"):
        trained([SWA(5, learning_rate=0.01)], schedule=schedule.constant(0.1))


def test_a_resumed_run_has_the_same_average(tmp_path):
    path, whole = tmp_path / "run.ckpt", SWA(3)
    trained([whole])
    trained([SWA(3), Checkpoint(path)], epochs=5)
    again = SWA(3)
    run = Trainer(network(), mse, SGD(0.1), rng=0, callbacks=[again, Checkpoint(path)],
                  progress=False)  # fmt: skip
    run.fit(X, y, epochs=8, batch_size=16, resume_from=path)
    assert again.count == whole.count == 5
    for name, mean in whole.mean.items():
        np.testing.assert_array_equal(again.mean[name], mean)


def test_a_new_run_begins_a_new_average():
    swa = SWA(1)
    run = trained([swa], epochs=4)
    run.fit(X, y, epochs=3, batch_size=16)
    assert swa.count == 2


def test_refused_data_leave_the_last_weights():
    swa = SWA(1)
    run = trained([swa])
    before = run.model.state_dict()
    with pytest.raises(ValueError, match=r"SWA\.apply: X must have 3 features"):
        swa.apply(X[:, :2])
    for name, array in before.items():
        np.testing.assert_array_equal(run.model.state_dict()[name], array)


def test_before_the_first_average_there_is_nothing_to_apply():
    swa = SWA(20)
    trained([swa])
    with pytest.raises(RuntimeError, match=r"SWA\.apply: nothing has been averaged"):
        swa.apply(X)


def test_statistics_are_the_average_over_batches_and_momentum_comes_back():
    model = mlp([3, 4, 1], batch_norm=True, rng=0)
    norm = model.layers[1]
    norm.running_mean = np.full_like(norm.running_mean, 1e3)
    update_statistics(model, X, batch_size=20)
    H = X.astype(np.float32) @ model.layers[0].W
    means = [H[begin : begin + 20].mean(0) for begin in (0, 20, 40)]
    np.testing.assert_allclose(norm.running_mean.ravel(), np.mean(means, 0), rtol=1e-5, atol=1e-6)
    assert norm.momentum == 0.9
    assert norm.batches == 3
    assert not model.training


def test_data_that_the_network_does_not_take_change_nothing():
    model = mlp([3, 4, 1], batch_norm=True, rng=0)
    update_statistics(model, X)
    before = model.state_dict()
    with pytest.raises(ValueError, match="update_statistics: X must have 3 features"):
        update_statistics(model, X[:, :2])
    for name, array in before.items():
        np.testing.assert_array_equal(model.state_dict()[name], array)
    for bad in (np.ones(3), np.ones((0, 3))):
        with pytest.raises(ValueError, match="update_statistics: X must have one row per sample"):
            update_statistics(model, bad)
    with pytest.raises(TypeError, match="update_statistics: model must be"):
        averages.update_statistics(None, X)
