"""`fastreg.sklearn` against scikit-learn's perceptrons, each in a process of its own.

    python benches/sklearn_fit.py [--rounds 3] [--only digits] [--accuracy]

Seconds are medians of rounds in which the contenders take turns. scikit-learn and skorch have the
number of threads they do best with: they take part once with one and once with all, and the quicker
of both counts. `skorch`, if it is installed, trains the same network of torch's layers. With
`--accuracy`, five data sets and five seeds are trained by both with equal settings instead, and the
differences of their test scores have a 95 % interval.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings

import numpy as np

BIG = (60_000, 784)
CONTENDERS = {  # name: (library, threads of BLAS, settings)
    "fastreg": ("fastreg", None, {}),
    "fastreg, float64": ("fastreg", None, {"dtype": "float64"}),
    "fastreg, dropout + BN": ("fastreg", None, {"norm": "batch", "dropout": 0.2}),
    "scikit-learn": ("scikit-learn", None, {}),
    "scikit-learn, 1 thread": ("scikit-learn", "1", {}),
    "skorch, dropout + BN": ("skorch", None, {}),
    "skorch, dropout + BN, 1 thread": ("skorch", "1", {}),
}
TARGETS = {  # work: (contender, library, times as fast as that at least)
    "digits": [
        ("fastreg", "scikit-learn", 6.0),
        ("fastreg", "scikit-learn", 8.0),
        ("fastreg, dropout + BN", "scikit-learn", 4.0),
        ("fastreg, dropout + BN", "skorch", 8.0),
    ],
    "60,000 x 784, float64": [("fastreg", "scikit-learn", 2.0)],
    "60,000 x 784, float32": [("fastreg", "scikit-learn", 2.0)],
    "predict 10,000 x 784, float64": [("fastreg", "scikit-learn", 1.5)],
    "predict 10,000 x 784, float32": [("fastreg", "scikit-learn", 1.5)],
    "predict one row": [("fastreg", "scikit-learn", 3.0)],
}


def digits():
    """The digits as scikit-learn loads them."""
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)


def big(dtype):
    """Ten classes that overlap."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, BIG[0])
    X = rng.standard_normal(BIG, dtype=np.float32)
    X += rng.standard_normal((10, BIG[1]), dtype=np.float32)[y] * np.float32(0.1)
    return X.astype(dtype), y


def skorch_digits():
    """The network of digits with dropout and batch norm as skorch trains it, or None."""
    try:
        import skorch
        import torch
    except ImportError:
        return None
    layers = [torch.nn.Linear(64, 100), torch.nn.BatchNorm1d(100), torch.nn.ReLU(),
              torch.nn.Dropout(0.2), torch.nn.Linear(100, 10)]  # fmt: skip
    X, y = digits()
    net = skorch.NeuralNetClassifier(
        torch.nn.Sequential(*layers), criterion=torch.nn.CrossEntropyLoss, max_epochs=200,
        optimizer=torch.optim.Adam, lr=1e-3, batch_size=200, train_split=None, verbose=0,
    )  # fmt: skip
    return lambda: net.fit(X.astype(np.float32), y)


def call_of(work, library, settings):
    """Return a call that does the work once and its number of calls in a sample, or None."""
    if library == "skorch":
        found = skorch_digits() if work == "digits" else None
        return found and (found, 1)
    if library == "fastreg":
        from fastreg.sklearn import MLPClassifier
    else:
        from sklearn.neural_network import MLPClassifier
    whole = {"random_state": 0, "tol": 0.0, "n_iter_no_change": 10**6, **settings}
    if work == "digits":
        X, y = digits()
        return lambda: MLPClassifier(**whole).fit(X, y), 1
    if settings:
        return None
    if work == "predict one row":
        X, y = digits()
        model = MLPClassifier(max_iter=5, random_state=0).fit(X, y)
        return lambda: model.predict_proba(X[:1]), 300
    X, y = big(work.split(", ")[-1])
    model = MLPClassifier((256, 128), batch_size=200, max_iter=1, **whole)
    if work.startswith("predict"):
        model.fit(X[:2000], y[:2000])
        return lambda: model.predict_proba(X[:10_000]), 3
    return lambda: model.fit(X, y), 1


def worker(work, contender):
    """Time samples for the process at the other end of the pipes."""
    warnings.simplefilter("ignore")
    library, _, settings = CONTENDERS[contender]
    found = call_of(work, library, settings)
    print(json.dumps(found is not None), flush=True)
    if found is None:
        return
    call, times = found
    if times > 1:
        call()
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(times):
            call()
        print(json.dumps((time.perf_counter() - start) / times), flush=True)


def start(work, contender):
    """Start a contender's process; None if it does not take part."""
    threads = CONTENDERS[contender][1]
    settings = {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads} if threads else {}
    process = subprocess.Popen(
        [sys.executable, __file__, "--worker", work, contender], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | settings,
    )  # fmt: skip
    return process if json.loads(process.stdout.readline()) else process.wait() or None


def measure(work, rounds, limit=20.0):
    """Return the median seconds of every contender; one that is too slow has one round."""
    found = {name: start(work, name) for name in CONTENDERS}
    taken = {name: [] for name, process in found.items() if process}
    for _ in range(rounds):
        for name, seconds in taken.items():
            if not seconds or max(seconds) < limit:
                time.sleep(0.3)  # until the threads of the contender before are asleep
                found[name].stdin.write("\n")
                found[name].stdin.flush()
                seconds.append(json.loads(found[name].stdout.readline()))
    for name in taken:
        found[name].stdin.close()
        found[name].wait()
    return {name: float(np.median(seconds)) for name, seconds in taken.items()}


def accuracies():
    """Print the test scores of both libraries and the interval of their difference."""
    import sklearn.neural_network as theirs
    from scipy.stats import t
    from sklearn import datasets
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    import fastreg.sklearn as ours

    sets = {
        "digits": ("MLPClassifier", digits),
        "breast cancer": ("MLPClassifier", lambda: datasets.load_breast_cancer(return_X_y=True)),
        "wine": ("MLPClassifier", lambda: datasets.load_wine(return_X_y=True)),
        "moons": ("MLPClassifier", lambda: datasets.make_moons(600, noise=0.3, random_state=0)),
        "diabetes": ("MLPRegressor", lambda: datasets.load_diabetes(return_X_y=True)),
    }
    for name, (kind, load) in sets.items():
        X, y = load()
        scores = []
        for seed in range(5):
            parts = train_test_split(X, y, random_state=seed)
            scaler = StandardScaler().fit(parts[0])
            train, test = (scaler.transform(part).astype(np.float32) for part in parts[:2])
            how = {"random_state": seed, "max_iter": 100}
            scores.append([getattr(library, kind)(**how).fit(train, parts[2]).score(test, parts[3])
                           for library in (ours, theirs)])  # fmt: skip
        gaps = np.subtract(*np.transpose(scores))
        width = t.ppf(0.975, 4) * gaps.std(ddof=1) / np.sqrt(5)
        verdict = "met" if abs(gaps.mean()) <= width + 1e-6 else "MISSED"  # but for rounding
        means = np.mean(scores, axis=0)
        print(f"{name}: fastreg {means[0]:.4f}, scikit-learn {means[1]:.4f}, "
              f"difference {gaps.mean():+.4f} ± {width:.4f} ({verdict})")  # fmt: skip


def main():
    """Measure what is asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="works whose name has this in it")
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(*options.worker)
    if options.accuracy:
        warnings.simplefilter("ignore")
        return accuracies()
    for work in (name for name in TARGETS if options.only in name):
        found = measure(work, options.rounds)
        print(f"{work}:", " · ".join(f"{name} {s:.3g} s" for name, s in found.items()))
        for name, library, factor in TARGETS[work]:
            peers = [s for peer, s in found.items() if peer.startswith(library)]
            if peers:
                ratio = min(peers) / found[name]
                verdict = "met" if ratio >= factor else "MISSED"
                print(f"  {name}: {ratio:.2f} times as fast as {library} (>= {factor:.2f}: "
                      f"{verdict})", flush=True)  # fmt: skip
    return None


if __name__ == "__main__":
    main()
