"""Ensembles cut to their first trees: a boosted model or a forest holds many smaller ones, which cost no training."""

from __future__ import annotations

import copy
from typing import Any

from trimtab.adapters.models.artifact import Estimator, Predictor


def rounds_of(predictor: Predictor) -> int:
    """How many rounds (of a forest: trees) a model has; 0 when it is no ensemble that can be cut."""
    if not isinstance(predictor, Estimator):
        return _booster_rounds(predictor)
    ensemble = _ensemble(predictor.model)
    return 0 if ensemble is None else _rounds(ensemble)


def cut(predictor: Predictor, rounds: int) -> Predictor:
    """The model of the first rounds alone. Raises ValueError when it cannot be cut."""
    if not isinstance(predictor, Estimator):
        made: Predictor = _cut_booster(predictor, rounds)
        return made
    if not rounds_of(predictor):
        kind = type(_last(predictor.model)).__name__
        raise ValueError(f"a {kind} cannot be cut: only boosted trees and forests can")
    return Estimator(_with_rounds(predictor.model, rounds), predictor.task, predictor.reads_frames)


def _booster_rounds(booster: Any) -> int:
    return int(booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration())


def _cut_booster(booster: Any, rounds: int) -> Any:
    import lightgbm

    return lightgbm.Booster(model_str=booster.model_to_string(num_iteration=rounds))


def _last(model: Any) -> Any:
    """What predicts at the end of pipelines and searches."""
    if hasattr(model, "best_estimator_"):
        return _last(model.best_estimator_)
    return _last(model.steps[-1][1]) if hasattr(model, "steps") else model


def _ensemble(model: Any) -> Any:
    last = _last(model)
    return last if isinstance(last, _kinds()) or hasattr(last, "booster_") else None


def _kinds() -> tuple[type, ...]:
    from sklearn import ensemble

    names = ("RandomForest", "ExtraTrees", "GradientBoosting", "HistGradientBoosting")
    return tuple(getattr(ensemble, f"{name}{task}") for name in names for task in ("Classifier", "Regressor"))


def _rounds(ensemble: Any) -> int:
    if hasattr(ensemble, "booster_"):
        return _booster_rounds(ensemble.booster_)
    return len(ensemble._predictors if hasattr(ensemble, "_predictors") else ensemble.estimators_)


def _with_rounds(model: Any, rounds: int) -> Any:
    """A copy that shares all but what is cut."""
    if hasattr(model, "best_estimator_"):
        return _with_rounds(model.best_estimator_, rounds)
    copied = copy.copy(model)
    if hasattr(model, "steps"):
        name, last = model.steps[-1]
        copied.steps = [*model.steps[:-1], (name, _with_rounds(last, rounds))]
    elif hasattr(model, "booster_"):
        copied._Booster = _cut_booster(model.booster_, rounds)
    elif hasattr(model, "_predictors"):
        copied._predictors = model._predictors[:rounds]
    else:
        copied.estimators_ = model.estimators_[:rounds]
        copied.n_estimators = rounds
    return copied
