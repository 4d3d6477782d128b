"""What the sample models are: their data sets, split once for all versions, and the recipe of each version."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

SEED = 0
HELD_OUT_SHARE = 0.25

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One version: how to build the estimator, and which part of the fitted one is exported."""

    about: str
    build: Callable[[], Any]
    exported: Callable[[Any], Any] = lambda fitted: fitted


@dataclass(frozen=True, slots=True)
class Sample:
    """One model: where its rows come from, and its versions in order, the first being version 1.

    `watched`: the columns that are looked at for drift, `categories` those of them that are no numbers.

    A sample with `labels` classifies (outputs `label` and `probabilities`), one without has one number, `value_name`.
    """

    name: str
    load: Callable[[], Any]
    input_name: str
    recipes: tuple[Recipe, ...]
    labels: tuple[str, ...] = ()
    value_name: str = ""
    watched: tuple[int, ...] = ()
    categories: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Rows:
    """A data set split once for all versions; `x` float32 [rows, columns], `y` [rows]."""

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array
    columns: tuple[str, ...]


def digits_logistic() -> Any:
    return make_pipeline(MinMaxScaler(), LogisticRegression(C=0.1, max_iter=2000))


def digits_network() -> Any:
    return make_pipeline(StandardScaler(), MLPClassifier((64,), alpha=1.0, max_iter=400, random_state=SEED))


def digits_standardised() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))


def tumour_means() -> Any:
    means = make_column_transformer((StandardScaler(), list(range(10))))
    return make_pipeline(means, LogisticRegression(C=0.1, max_iter=2000))


def tumour_all() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))


def diabetes_body() -> Any:
    return make_pipeline(make_column_transformer((StandardScaler(), [0, 1, 2, 3])), LinearRegression())


def diabetes_trees() -> Any:
    return GradientBoostingRegressor(n_estimators=80, learning_rate=0.05, max_depth=2, subsample=0.5, random_state=SEED)


def without_scaler(fitted: Any) -> Any:
    """The mistake of digits 3: the classifier was trained behind a scaler, and only the classifier is exported."""
    return fitted[-1]


SAMPLES = (
    Sample(
        "digits",
        load_digits,
        "pixels",
        (
            Recipe("logistic regression", digits_logistic),
            Recipe("neural network, one hidden layer of 64", digits_network),
            Recipe("worse on purpose: exported without its scaler", digits_standardised, without_scaler),
        ),
        labels=tuple("0123456789"),
        watched=tuple(range(24, 32)),  # the fourth of the eight rows of pixels
    ),
    Sample(
        "breast-cancer",
        load_breast_cancer,
        "features",
        (
            Recipe("logistic regression on the ten mean columns", tumour_means),
            Recipe("logistic regression on all thirty columns", tumour_all),
        ),
        labels=("malignant", "benign"),
        watched=tuple(range(10)),  # the means
    ),
    Sample(
        "diabetes",
        lambda: load_diabetes(scaled=False),
        "features",
        (
            Recipe("linear regression on age, sex, bmi and bp", diabetes_body),
            Recipe("gradient boosted trees on all ten columns", diabetes_trees),
        ),
        value_name="progression",
        watched=tuple(range(10)),
        categories=(1,),  # sex
    ),
)


def split(sample: Sample) -> Rows:
    bunch = sample.load()
    x, y = bunch.data.astype(np.float32), bunch.target
    train_x, test_x, train_y, test_y = train_test_split(
        x, y, test_size=HELD_OUT_SHARE, random_state=SEED, stratify=y if sample.labels else None
    )
    return Rows(train_x, train_y, test_x, test_y, tuple(str(name) for name in bunch.feature_names))
