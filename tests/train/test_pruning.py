"""Optuna's trials: told of every epoch, and ended where Optuna says so."""

import copy

import numpy as np
import pytest
from runs import Adam, blobs, fit, trainer

from fastreg import nn
from fastreg.callbacks import OptunaPruning
from fastreg.train import Trainer


class Trial:
    """What the callback needs of a trial; ends it after so many epochs."""

    def __init__(self, epochs=100):
        self.epochs, self.reported = epochs, []

    def report(self, value, step):
        self.reported.append((step, value))

    def should_prune(self):
        return len(self.reported) >= self.epochs


@pytest.mark.parametrize(
    ("options", "monitor", "column"),
    [
        ({}, None, "val_loss"),
        ({"monitor": "val_auc"}, None, "val_auc"),
        ({}, "val_auc", "val_auc"),
        ({}, "train_loss", "loss"),
    ],
)
def test_every_epoch_is_reported(options, monitor, column):
    trial = Trial()
    callback = OptunaPruning(trial, monitor=monitor)
    history = fit(trainer(callbacks=[callback], metrics=["auc"], **options), epochs=4)
    assert trial.reported == list(enumerate(history[column]))


def test_a_monitor_that_nobody_records_is_refused_before_the_first_step():
    run = trainer(callbacks=[OptunaPruning(Trial(), monitor="val_auc")])
    with pytest.raises(ValueError, match="OptunaPruning: monitor must be one of"):
        fit(run, epochs=2)
    assert run.step == 0


def test_copies_share_the_trial():
    one = OptunaPruning(Trial(), monitor="loss")
    other = copy.deepcopy(one)
    assert other is not one and other.trial is one.trial and other.monitor == "loss"


# --- with Optuna ----------------------------------------------------------------------------


def searched(objective, **options):
    optuna = pytest.importorskip("optuna", reason="needs the extra 'optuna'")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        sampler=optuna.samplers.GridSampler({"rate": [0.3, 0.1, 0.05, 1e-7, 1e-8]}, seed=0),
        pruner=optuna.pruners.ThresholdPruner(upper=0.6, lower=-0.1, n_warmup_steps=2),
        **options,
    )
    study.optimize(objective, n_trials=5)
    return {trial.params["rate"]: trial for trial in study.trials}


def test_rates_that_do_not_train_are_pruned():
    def objective(trial):
        rate = trial.suggest_float("rate", 1e-8, 0.3, log=True)
        run = trainer(callbacks=[OptunaPruning(trial)], optimizer=Adam(rate))
        return fit(run, epochs=40)["val_loss"][-1]

    trials = searched(objective)
    states = {rate: trial.state.name for rate, trial in trials.items()}
    assert states[1e-8] == states[1e-7] == "PRUNED" and states[0.3] == "COMPLETE"
    assert len(trials[1e-8].intermediate_values) == 3
    assert len(trials[0.3].intermediate_values) == 40


def test_a_study_that_looks_the_other_way_is_refused():
    def objective(trial):
        run = trainer(callbacks=[OptunaPruning(trial)], optimizer=Adam(0.1))
        with pytest.raises(ValueError, match=r"'val_loss' \(min\) in a study that is to maximize"):
            fit(run, epochs=1)
        assert run.step == 0
        return trial.suggest_float("rate", 1e-8, 0.3)

    searched(objective, direction="maximize")


def test_a_study_of_two_objectives_is_refused():
    def objective(trial):
        with pytest.raises(ValueError, match="one objective, got 2"):
            fit(trainer(callbacks=[OptunaPruning(trial)]), epochs=1)
        return trial.suggest_float("rate", 1e-8, 0.3), 0.0

    optuna = pytest.importorskip("optuna", reason="needs the extra 'optuna'")
    study = optuna.create_study(directions=["minimize", "maximize"])
    study.optimize(objective, n_trials=1)


def test_a_metric_that_does_not_say_which_is_better_goes_the_studys_way():
    def bias(y_true, y_pred):
        return float(np.mean(y_true) - np.mean(y_pred))

    def objective(trial):
        run = Trainer(
            nn.mlp([4, 3], rng=0), "mae", Adam(0.1), metrics=[bias],
            callbacks=[OptunaPruning(trial, monitor="bias")], rng=0,
        )  # fmt: skip
        X = np.random.default_rng(0).standard_normal((20, 4))
        run.fit(X, X[:, :3], epochs=1)
        return trial.suggest_float("rate", 1e-8, 0.3)

    optuna = pytest.importorskip("optuna", reason="needs the extra 'optuna'")
    for direction in ("minimize", "maximize"):
        study = optuna.create_study(direction=direction)
        study.optimize(objective, n_trials=1)
        assert len(study.trials[0].intermediate_values) == 1


def test_estimators_report_their_score_and_are_cloned_with_their_trial():
    base = pytest.importorskip("sklearn.base", reason="needs the extra 'sklearn'")
    from fastreg.sklearn import MLPClassifier

    def objective(trial):
        trial.suggest_float("rate", 1e-8, 0.3)
        X, y = blobs(60)
        net = MLPClassifier((4,), max_iter=4, tol=0, random_state=0, early_stopping=True,
                            callbacks=[OptunaPruning(trial)])  # fmt: skip
        net = base.clone(net)
        with pytest.warns(Warning):
            net.fit(X, y)
        assert list(trial.study._storage.get_trial(trial._trial_id).intermediate_values.values()) \
            == net.validation_scores_  # fmt: skip
        return net.validation_scores_[-1]

    optuna = pytest.importorskip("optuna", reason="needs the extra 'optuna'")
    study = optuna.create_study(direction="maximize")
    study.optimize(objective, n_trials=1)
    assert study.trials[0].state.name == "COMPLETE"
