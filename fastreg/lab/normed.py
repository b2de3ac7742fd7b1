"""Networks without a norm, with batch norm and with layer norm, that are alike in all else."""

import numpy as np

from fastreg import SGD, BatchNorm, LayerNorm
from fastreg.lab import plots
from fastreg.lab.data import load
from fastreg.lab.fits import train
from fastreg.nn import Dense, ReLU, Sequential
from fastreg.train import Trainer

__all__ = ["COLOURS", "NAMES", "fit", "network"]

NAMES = {"none": "no norm", "batch": "batch norm", "layer": "layer norm"}
COLOURS = {"none": plots.GREY, "batch": plots.BLUE, "layer": plots.ORANGE}


def network(sizes, norm, scale, seed):
    """Build a network; its weights depend on sizes, scale and seed alone."""
    rng, layers = np.random.default_rng(seed), []
    for n_in, n_out in zip(sizes[:-2], sizes[1:-1], strict=True):
        layers.append(Dense(n_in, n_out, init_scale=scale, rng=rng))
        layers += {"none": [], "batch": [BatchNorm(n_out)], "layer": [LayerNorm(n_out)]}[norm]
        layers.append(ReLU())
    return Sequential([*layers, Dense(*sizes[-2:], init_scale=scale, rng=rng)])


def fit(data, norm, rate, scale, epochs, seed, batch_size=64):
    """Train one network; for one seed all but norm, rate and scale is the same."""
    problem = load(data, seed)
    model = network([problem.n_in, 64, 64, 64, problem.n_out], norm, scale, seed)
    trainer = Trainer(model, problem.loss, SGD(rate), rng=seed)
    with np.errstate(over="ignore", invalid="ignore"):
        outcome = train(trainer, problem, epochs=epochs, batch_size=batch_size)
    return outcome | {"last": outcome["val_loss"][-1], "ignorant": problem.ignorant_loss}
