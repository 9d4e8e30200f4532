"""X, y and groups as users give them, as rows that a race can run on: encoded, ordered, with their folds."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.adapters.sources.dataset import MOST_CLASSES, Dataset, Task
from trimtab.core.errors import InputError
from trimtab.training.selection.folds import Folds, Layout, Places, are_ordered, folds_from, folds_of
from trimtab.training.selection.frames import to_table
from trimtab.training.selection.scoring import Truth
from trimtab.training.selection.text import Texts, learn_texts

Kind: TypeAlias = Literal["auto", "classification", "regression", "ranking"]
KINDS = ("auto", "classification", "regression", "ranking")
FEW_VALUES = 20  # whole numbers that are this few are taken for classes, where nothing is said
LEAST_GROUPS = 10
LEAST_ROWS = 100  # with fewer, nothing that is compared means anything
MOST_RELEVANCE = 30  # LightGBM's gains double with every level


@dataclass(frozen=True)
class Wishes:
    """How rows are to be split. `time`: the column that orders them; `cv`: the user's own folds."""

    time: str | int | None = None
    cv: Any = None
    seed: int = 0


@dataclass(frozen=True)
class Given:
    """A table to learn from. `order`: the user's row at each place; `schema`: of the columns that came in."""

    rows: Dataset
    order: Places
    layout: Layout
    splits: list[tuple[Places, Places]] | None  # the user's own
    schema: pa.Schema
    texts: Texts
    truth: Truth

    def folds(self, affordable: float) -> Folds:
        """The user's folds, or as many as suit the rows and are affordable."""
        return folds_of(self.layout, affordable) if self.splits is None else folds_from(self.splits)


def given(x: Any, y: Any, groups: Any, kind: Kind, wishes: Wishes) -> Given:
    """Check and order what a user gave. Raises InputError, or what scikit-learn raises for its like."""
    table = to_table(x)
    values = _target(y, len(table))
    task, codes, classes = _coded(values, kind)
    numbers = None if groups is None else _group_numbers(groups, len(table))
    _require_groups(numbers, task, wishes)
    splits = None if wishes.cv is None else _splits(wishes.cv, values, numbers, task)
    order, is_ordered = _order(table, numbers, splits, wishes)
    texts = learn_texts(table)
    ordered = texts.numbers(table).take(pa.array(order))
    queries = numbers[order] if task == "ranking" and numbers is not None else None
    names = tuple(str(one) for one in classes)
    rows = Dataset(ordered, codes[order], task, names, tuple(ordered.column_names), queries=queries)
    layout = Layout(codes[order], None if numbers is None else numbers[order], is_ordered)
    truth = Truth(task, rows.y, classes, functools.partial(_rows_of, x, order), values[order], queries)
    moved = None if splits is None else _moved(splits, order)
    if moved is not None:
        folds_from(moved)  # says at once what is wrong with them
    return Given(rows, order, layout, moved, table.schema, texts, truth)


def truth_of_ranking(x: Any, y: Any, queries: Any) -> tuple[Truth, Places]:
    """What a ranking is scored against, and the user's row at each place of it: those of a query lie together."""
    values = _target(y, len(to_table(x)))
    numbers = _group_numbers(queries, len(values))
    order = np.argsort(numbers, kind="stable")
    rows = functools.partial(_rows_of, x, order)
    return Truth("ranking", _relevances(values)[order], np.empty(0), rows, values[order], numbers[order]), order


def _rows_of(x: Any, order: Places, places: Places) -> Any:
    from sklearn.utils import _safe_indexing

    return _safe_indexing(x, order[places])


def _moved(splits: list[tuple[Places, Places]], order: Places) -> list[tuple[Places, Places]]:
    """The user's folds as places in our order."""
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return [(np.sort(place[one]), np.sort(place[two])) for one, two in splits]


def _target(y: Any, count: int) -> npt.NDArray[Any]:
    from sklearn.utils import assert_all_finite, column_or_1d

    if y is None:
        raise ValueError("This Tuner requires y to be passed, but the target y is None")
    values = column_or_1d(np.asarray(y.to_numpy() if hasattr(y, "to_numpy") else y), warn=True)
    if len(values) != count:
        raise ValueError(f"X has {count} rows and y has {len(values)}")
    if values.dtype.kind == "f":
        assert_all_finite(values, input_name="y")
    elif values.dtype.kind == "O" and any(map(_is_missing, values)):
        raise ValueError("Input y contains NaN: drop the rows whose target is missing")
    return np.asarray(values)


def _is_missing(one: Any) -> bool:
    differs = one != one
    return one is None or differs is one or bool(differs)  # pandas' NA compares to NA, which is neither


def _coded(values: npt.NDArray[Any], kind: Kind) -> tuple[Task, npt.NDArray[np.float64], npt.NDArray[Any]]:
    """The task, the target as numbers, and the classes, if any."""
    from sklearn.utils.multiclass import check_classification_targets

    if kind == "auto":
        kind = _guessed(values)
    if kind == "ranking":
        return "ranking", _relevances(values), np.empty(0)
    if kind == "regression":
        return "regression", _quantities(values), np.empty(0)
    check_classification_targets(values)
    classes, codes = np.unique(
        values.astype(str) if values.dtype.kind == "O" and not _sorts(values) else values, return_inverse=True
    )
    if len(classes) < 2:
        raise InputError(
            f"y has one class only ({classes[0]}): nothing can be learned", hint="check how rows were chosen"
        )
    if len(classes) > MOST_CLASSES:
        raise InputError(
            f"y has {len(classes):,} classes, at most {MOST_CLASSES:,} can be used",
            hint="predict coarser classes, or rank candidates with task='ranking'",
        )
    return "binary" if len(classes) == 2 else "multiclass", codes.astype(np.float64), classes


def _guessed(values: npt.NDArray[Any]) -> Kind:
    if values.dtype.kind in "OUSb":
        return "regression" if values.dtype.kind == "O" and _are_quantities(values) else "classification"
    distinct = np.unique(values)
    are_whole = values.dtype.kind in "iu" or bool((distinct == np.round(distinct)).all())
    return "classification" if are_whole and len(distinct) <= FEW_VALUES else "regression"


def _are_quantities(values: npt.NDArray[Any]) -> bool:
    return (
        all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in values)
        and len(set(values)) > FEW_VALUES
    )


def _sorts(values: npt.NDArray[Any]) -> bool:
    return len({type(one) for one in values}) == 1


def _quantities(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise InputError("y holds no numbers", hint="task='classification' predicts words") from None


def _relevances(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    found = _quantities(values)
    if (found < 0).any() or (found > MOST_RELEVANCE).any() or (found != np.round(found)).any():
        raise InputError(f"relevances are whole numbers from 0 to {MOST_RELEVANCE}", hint="bin them into a few levels")
    return found


def _require_groups(groups: Places | None, task: Task, wishes: Wishes) -> None:
    if groups is None:
        if task == "ranking":
            raise InputError("a ranking needs groups: the query of each row", hint="fit(X, y, groups=query_ids)")
        return
    if wishes.time is not None:  # a cut in time goes through groups
        raise InputError(
            "groups and time= cannot both decide which rows confirm",
            hint="leave one out; or, without time=, give cv= folds of whole groups of which the last is the latest",
        )
    count = int(groups.max()) + 1
    if wishes.cv is None and count < LEAST_GROUPS:
        raise InputError(f"there are {count} groups, at least {LEAST_GROUPS} are needed", hint="or give cv=")


def _group_numbers(groups: Any, count: int) -> Places:
    found = np.asarray(groups.to_numpy() if hasattr(groups, "to_numpy") else groups)
    if found.shape != (count,):
        raise InputError(f"groups has the shape {found.shape}, X has {count} rows", hint="one group for each row")
    if found.dtype.kind in "fOM" and any(map(_is_missing, found)):
        raise InputError("groups has missing values", hint="drop those rows, or name a group for each")
    try:
        return cast(Places, np.unique(found, return_inverse=True)[1].astype(np.int64))
    except TypeError:  # such as numbers among words
        raise InputError("groups has values of several types", hint="make all of them words, or numbers") from None


def _splits(cv: Any, y: npt.NDArray[Any], groups: Places | None, task: Task) -> list[tuple[Places, Places]]:
    """The folds of whatever scikit-learn takes for `cv`, once: a splitter may draw others the next time."""
    from sklearn.model_selection import GroupKFold, check_cv

    if isinstance(cv, int) and groups is not None:
        cv = GroupKFold(cv)  # scikit-learn's own reading of a number would cut groups
    found = check_cv(cv, y, classifier=task in ("binary", "multiclass"))
    return [(np.asarray(one), np.asarray(two)) for one, two in found.split(np.zeros((len(y), 1)), y, groups)]


def _order(
    table: pa.Table, groups: Places | None, splits: list[tuple[Places, Places]] | None, wishes: Wishes
) -> tuple[Places, bool]:
    """The user's rows in the order in which they are used, and whether that is an order in time."""
    rng = np.random.default_rng(wishes.seed)
    if wishes.time is not None:
        return _by_time(table, wishes.time), True
    if splits is not None and groups is None and are_ordered(splits):
        return np.arange(len(table)), True
    if groups is None:
        return rng.permutation(len(table)), False
    shuffled = rng.permutation(int(groups.max()) + 1)[groups]
    return np.argsort(shuffled, kind="stable"), False


def _by_time(table: pa.Table, time: str | int) -> Places:
    name = table.column_names[time] if isinstance(time, int) else time
    if name not in table.column_names:
        raise InputError(f"there is no column {name!r} (time)", hint=f"the columns are {table.column_names[:10]}")
    column = table.column(name)
    if column.null_count:
        raise InputError(f"{column.null_count:,} rows have no time in {name!r}", hint="drop or repair those rows")
    keyed = pa.table({"time": column, "row": pa.array(np.arange(len(table)))})
    return np.asarray(pc.sort_indices(keyed, sort_keys=[("time", "ascending"), ("row", "ascending")]), np.int64)
