"""Work the chapter's formulas out in 50 digits and keep the results, as ``chapter.json``.

Nothing of fastreg and no float arithmetic takes part: weights are exact rationals drawn by NumPy's
legacy generator, whose stream is frozen, and every formula is evaluated by mpmath.

    python tests/golden/make_chapter.py
"""

import json
from pathlib import Path

import mpmath as mp
import numpy as np

mp.mp.dps = 50
DIGITS = 25
EPOCHS = [0, 1, 4, 5, 9, 10, 19, 20, 35, 49, 50, 75, 99, 100, 101, 150]


def text(value):
    """25 digits of a number, or of every number in a list."""
    return [text(v) for v in value] if isinstance(value, list) else mp.nstr(value, DIGITS)


def penalties(layers, strength):
    """Values and gradients of the penalties with one strength, over all layers."""
    flat = [mp.mpf(float(w)) for layer in layers for w in layer.ravel()]
    lam = mp.mpf(strength)
    return {
        "lambda": strength,
        "l1_regularization_loss": text(lam * mp.fsum(abs(w) for w in flat)),
        "l2_regularization_loss": text(lam / 2 * mp.fsum(w * w for w in flat)),
        "l1_gradient": text([lam * mp.sign(w) for w in flat]),
        "l2_gradient": text([lam * w for w in flat]),
        "near_zero": sum(abs(w) < mp.mpf(0.01) for w in flat),
    }


def rate(lr):
    """A float as the number it stands for."""
    return mp.mpf(lr)


def step_decay(epoch):
    """Halve 0.1 every 10 epochs."""
    return rate(0.1) / 2 ** (epoch // 10)


def cosine(epoch, total, top, low):
    """Descend from top to low in ``total`` epochs, and rise again."""
    return rate(low) + (rate(top) - rate(low)) * (1 + mp.cos(mp.pi * epoch / total)) / 2


def ramp(epoch, warm, top):
    """Climb to top in ``warm`` epochs."""
    return rate(top) * (epoch + 1) / warm


def warmup_cosine(epoch, total, warm, top, low):
    """Climb, then descend in the epochs that remain."""
    if epoch < warm:
        return ramp(epoch, warm, top)
    return cosine(epoch - warm, total - warm, top, low)


def main():
    """Write the file."""
    np.random.seed(42)
    layers = [np.random.randn(4, 3) * 0.1, np.random.randn(3, 2) * 0.01]
    chapter = {
        "epochs": EPOCHS,
        "weights": [layer.tolist() for layer in layers],
        "penalties": [penalties(layers, strength) for strength in (0.01, 0.001)],
        "rates": {
            "step_decay": text([step_decay(e) for e in EPOCHS]),
            "cosine_annealing": text([cosine(e, 100, 0.1, 0.0001) for e in EPOCHS]),
            "cosine_annealing_floor": text([cosine(e, 100, 0.1, 0.001) for e in EPOCHS]),
            "warmup_schedule": text([ramp(e, 5, 0.1) if e < 5 else rate(0.1) for e in EPOCHS]),
            "warmup_cosine": text([warmup_cosine(e, 100, 10, 0.1, 0.0001) for e in EPOCHS]),
            "warmup_cosine_short": text([warmup_cosine(e, 50, 5, 0.1, 0.01) for e in EPOCHS]),
        },
    }
    path = Path(__file__).with_name("chapter.json")
    path.write_text(json.dumps(chapter, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
