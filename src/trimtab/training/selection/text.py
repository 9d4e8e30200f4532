"""Text-ish columns: free text becomes a few numbers (length, and what the words are about); codes stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

LEAST_WORDS = 3.0  # a value, on average
LEAST_DISTINCT = 0.3  # of the values
LEAST_ROWS = 50
TOPICS = 30
MOST_WORDS = 5000


@dataclass(frozen=True)
class Texts:
    """What was learned of the columns of free text. `topics` of each: a scikit-learn pipeline."""

    topics: dict[str, Any]

    def numbers(self, table: pa.Table) -> pa.Table:
        """The table with numbers in the place of its texts."""
        for name, pipeline in self.topics.items():
            words = _filled(table.column(name))
            found = pipeline.transform(words)
            place = table.column_names.index(name)
            table = table.remove_column(place)
            table = table.append_column(f"{name}: length", pa.array([float(len(one)) for one in words]))
            for topic in range(found.shape[1]):
                table = table.append_column(f"{name}: topic {topic + 1}", pa.array(found[:, topic]))
        return table


def learn_texts(table: pa.Table) -> Texts:
    """The columns of a table that hold free text, each with a model of its words.

    The words are those of all rows, the holdout's included; the target is not looked at.
    """
    return Texts({name: _topics(_filled(table.column(name))) for name in table.column_names if is_text(table, name)})


def is_text(table: pa.Table, name: str) -> bool:
    """Whether a column holds sentences rather than codes: several words a value, and few values twice."""
    column = table.column(name)
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        return False
    known = column.drop_null()
    if len(known) < LEAST_ROWS:
        return False
    words = pc.mean(pc.add(pc.count_substring(known.cast(pa.string()), " "), 1)).as_py()
    return bool(words >= LEAST_WORDS and pc.count_distinct(known).as_py() >= LEAST_DISTINCT * len(known))


def _filled(column: pa.ChunkedArray) -> list[str]:
    return [one or "" for one in column.to_pylist()]


def _topics(words: list[str]) -> Any:
    """TF-IDF of words and pairs of words, reduced to a few dimensions (latent semantic analysis)."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    vectors = TfidfVectorizer(
        sublinear_tf=True, ngram_range=(1, 2), min_df=2, max_features=MOST_WORDS, dtype=np.float64
    )
    try:
        width = vectors.fit_transform(words).shape[1]
    except ValueError:  # no word occurs twice
        width = 0
    if width < 2:  # nothing to reduce
        vectors = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), max_features=MOST_WORDS)
        width = vectors.fit_transform(words).shape[1]
    return make_pipeline(vectors, TruncatedSVD(min(TOPICS, width - 1), random_state=0)).fit(words)
