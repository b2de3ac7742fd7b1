"""Whether state in bfloat16 or int8 changes where a training ends: five data sets, five seeds each.

Each pair of trainings has the same weights, batches and steps; one keeps the moments of AdamW in
float32, the other in fewer bits. Printed is the final training loss of both, and the 95 % interval
of the mean of the pairs' log ratio (Student's t). Run it as ``python benches/narrow_state.py``.
"""

import argparse

import numpy as np
from scipy import stats
from sklearn import datasets

import fastreg
from fastreg.nn import mlp, mse, softmax_cross_entropy
from fastreg.train import Trainer

SETS = {
    "digits": datasets.load_digits,
    "breast cancer": datasets.load_breast_cancer,
    "wine": datasets.load_wine,
    "diabetes": datasets.load_diabetes,
    "friedman": lambda return_X_y: datasets.make_friedman1(1000, noise=1.0, random_state=0),
}


def data(name):
    """Standardised inputs, and labels or standardised targets."""
    X, y = SETS[name](return_X_y=True)
    X = (X - X.mean(0)) / (X.std(0) + 1e-9)
    if np.issubdtype(y.dtype, np.integer):
        return X.astype(np.float32), y
    return X.astype(np.float32), ((y - y.mean()) / y.std()).astype(np.float32)[:, None]


def final_loss(name, seed, kind, epochs):
    """The training loss after the last epoch, in inference."""
    X, y = data(name)
    classes = y.ndim == 1
    model = mlp([X.shape[1], 64, 32, y.max() + 1 if classes else 1], rng=seed)
    optimizer = fastreg.AdamW(1e-3, state_dtype=kind, rng=seed)
    loss = softmax_cross_entropy if classes else mse
    Trainer(model, loss, optimizer, rng=seed, progress=False).fit(
        X, y, epochs=epochs, batch_size=32
    )
    model.eval()
    return float(loss(model.forward(X), y)[0])


def interval(values):
    """The 95 % interval of the mean."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return np.mean(values) - half, np.mean(values) + half


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args()
    kinds = ("bfloat16", "int8")
    print("| data | float32 | " + " | ".join(f"{kind} | log ratio, 95 %" for kind in kinds) + " |")
    print("|---|--:|" + "--:|--:|" * len(kinds))
    ratios = []
    for name in SETS:
        losses = np.array(
            [
                [final_loss(name, seed, kind, options.epochs) for kind in (None, *kinds)]
                for seed in range(options.seeds)
            ]
        )
        own = np.log(losses[:, 1:] / losses[:, :1])
        ratios.extend(own)
        full, *narrow = losses.mean(0)
        cells = [
            f"{loss:.4g} | {low:+.4f} to {high:+.4f}"
            for loss, (low, high) in zip(narrow, map(interval, own.T), strict=True)
        ]
        print(f"| {name} | {full:.4g} | {' | '.join(cells)} |", flush=True)
    cells = [f"{low:+.4f} to {high:+.4f}" for low, high in map(interval, np.transpose(ratios))]
    print(f"| all {len(ratios)} pairs | | | {' | | '.join(cells)} |")


if __name__ == "__main__":
    main()
