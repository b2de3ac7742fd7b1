"""Every layer that draws noise, in every form."""

import fastreg

RATES = (0.0, 0.3, 1.0)  # tests of Dropout take more
#: Every layer and form of it, for arrays with at least two axes.
FORMS = {
    "Dropout": {},
    "Dropout shared": {"noise_shape": (None, 1)},
    "Dropout plain": {"inverted": False},
    "SpatialDropout": {},
    "SpatialDropout last": {"axis": -1},
    "StochasticDepth": {},
    "StochasticDepth batch": {"mode": "batch"},
    "DropConnect": {},
    "AlphaDropout": {},
    "GaussianDropout": {},
}


def make(form, rate=0.3, module=fastreg):
    """The layer of a form, with a seed."""
    return getattr(module, form.split()[0])(rate, rng=7, **FORMS[form])


def rates(form):
    return [rate for rate in RATES if rate < 1.0 or form != "GaussianDropout"]
