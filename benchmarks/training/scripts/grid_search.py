"""A search over a forest on the digits: workers outside, workers inside."""

from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, train_test_split

x, y = load_digits(return_X_y=True)
a, b, c, d = train_test_split(x, y, test_size=0.3, random_state=0)
grid = {"max_depth": [6, 12], "min_samples_leaf": [1, 4]}
search = GridSearchCV(RandomForestClassifier(120, random_state=0, n_jobs=-1), grid, cv=3, n_jobs=-1)
search.fit(a, c)
print("best", search.best_params_, "accuracy", search.score(b, d))
