"""Which package a docstring of numpy or scipy comes from: words, a selection, a linear model, a search."""

import inspect
import pydoc

import numpy
import scipy.signal
import scipy.stats
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline

texts, labels = [], []
for label, module in enumerate((numpy, scipy.stats, scipy.signal)):
    for name, one in sorted(vars(module).items()):
        text = inspect.getdoc(one) or ""
        if not name.startswith("_") and len(text) > 200:
            parts = [text[at : at + 600] for at in range(0, len(text), 600)]
            texts += parts
            labels += [label] * len(parts)
a, b, c, d = train_test_split(texts, labels, test_size=0.3, random_state=0)
model = Pipeline(
    [
        ("words", TfidfVectorizer(ngram_range=(1, 2), min_df=2)),
        ("pick", SelectKBest(chi2, k=3000)),
        ("fit", LogisticRegression(max_iter=300)),
    ]
)
search = GridSearchCV(model, {"fit__C": [0.3, 1, 3, 10, 30]}, cv=3)
search.fit(a, c)
print(pydoc.__name__, "accuracy", search.score(b, d))
