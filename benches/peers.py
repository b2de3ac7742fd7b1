"""The same training step by torch and by scikit-learn, where they are installed."""

import itertools

import numpy as np

import fastreg

try:
    import torch
except ModuleNotFoundError:
    torch = None
else:
    torch.set_num_threads(fastreg.get_num_threads())


def training_step(sizes, batch_norm, dropout, rule, rate, x, labels):
    """Take a step of the same network through autograd, on all threads and on one."""
    if torch is None:
        return {}
    layers = []
    for n_in, n_out in itertools.pairwise(sizes[:-1]):
        layers.append(torch.nn.Linear(n_in, n_out, bias=not batch_norm))
        layers += [torch.nn.BatchNorm1d(n_out)] if batch_norm else []
        layers.append(torch.nn.ReLU())
        layers += [torch.nn.Dropout(dropout)] if dropout else []
    model = torch.nn.Sequential(*layers, torch.nn.Linear(*sizes[-2:]))
    optimizer = getattr(torch.optim, rule)(model.parameters(), rate)
    loss = torch.nn.CrossEntropyLoss()
    inputs, targets = torch.from_numpy(x), torch.from_numpy(labels)

    def step(threads):
        torch.set_num_threads(threads)
        optimizer.zero_grad()
        loss(model(inputs), targets).backward()
        optimizer.step()
        torch.set_num_threads(fastreg.get_num_threads())

    return {
        "torch eager": lambda: step(fastreg.get_num_threads()),
        "torch 1 thread": lambda: step(1),
    }


def sklearn_step(sizes, rate, x, labels):
    """Take a step of scikit-learn's network, where it is installed."""
    try:
        from sklearn.neural_network import MLPClassifier
    except ModuleNotFoundError:
        return {}
    model = MLPClassifier(
        hidden_layer_sizes=sizes[1:-1],
        solver="adam",
        alpha=0.0,
        learning_rate_init=rate,
        batch_size=len(x),
    )
    classes = np.arange(sizes[-1])
    model.partial_fit(x, labels, classes=classes)
    return {"scikit-learn": lambda: model.partial_fit(x, labels)}
