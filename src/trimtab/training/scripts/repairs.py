"""Calls that newer libraries have renamed or dropped, as these want them now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import libcst as cst
from libcst import matchers as m

from trimtab.training.scripts.calls import (
    assigns_in,
    changed,
    code,
    imported,
    keyword,
    name_of,
    renamed,
    with_keyword,
    without_keywords,
)

NUMPY: Mapping[str, str] = {  # gone since 1.24 or 2.0; a name with a dot stays numpy's
    "float": "float", "int": "int", "bool": "bool", "object": "object", "str": "str", "complex": "complex",
    "Inf": ".inf", "Infinity": ".inf", "NaN": ".nan", "NAN": ".nan", "float_": ".float64", "complex_": ".complex128",
    "unicode_": ".str_", "bool8": ".bool_", "product": ".prod", "cumproduct": ".cumprod", "alltrue": ".all",
    "sometrue": ".any", "row_stack": ".vstack", "in1d": ".isin", "trapz": ".trapezoid",
}  # fmt: skip
METHODS: Mapping[str, str] = {"iteritems": "items", "get_feature_names": "get_feature_names_out"}
KEYWORDS: Mapping[str, Mapping[str, str]] = {
    "OneHotEncoder": {"sparse": "sparse_output"},
    "AdaBoostClassifier": {"base_estimator": "estimator"},
    "AdaBoostRegressor": {"base_estimator": "estimator"},
    "BaggingClassifier": {"base_estimator": "estimator"},
    "BaggingRegressor": {"base_estimator": "estimator"},
    "AgglomerativeClustering": {"affinity": "metric"},
}
VALUES: Mapping[str, Mapping[tuple[str, str], str]] = {
    "LogisticRegression": {("penalty", "'none'"): "None"},
    "RandomForestClassifier": {("max_features", "'auto'"): "'sqrt'"},
    "ExtraTreesClassifier": {("max_features", "'auto'"): "'sqrt'"},
    "RandomForestRegressor": {("max_features", "'auto'"): "1.0", ("criterion", "'mse'"): "'squared_error'"},
    "ExtraTreesRegressor": {("max_features", "'auto'"): "1.0", ("criterion", "'mse'"): "'squared_error'"},
    "DecisionTreeRegressor": {("criterion", "'mse'"): "'squared_error'"},
    "GradientBoostingClassifier": {("loss", "'deviance'"): "'log_loss'"},
    "GradientBoostingRegressor": {("loss", "'ls'"): "'squared_error'", ("loss", "'lad'"): "'absolute_error'"},
    "SGDClassifier": {("loss", "'log'"): "'log_loss'"},
    "SGDRegressor": {("loss", "'squared_loss'"): "'squared_error'"},
}
MODULES: Mapping[str, str] = {
    "sklearn.cross_validation": "sklearn.model_selection",
    "sklearn.grid_search": "sklearn.model_selection",
    "sklearn.externals": "",
}
LIGHTGBM = "__import__('lightgbm')"


def repaired(module: cst.Module) -> cst.Module:
    """The script with all of them mended."""
    owners = _Owners.of(module)
    return changed(changed(module, _mended), lambda call: _with_callbacks(call, owners)).visit(_Names())


def _mended(call: cst.Call) -> cst.BaseExpression:
    name = name_of(call)
    call = renamed(call, KEYWORDS.get(name, {}))
    for (key, old), new in VALUES.get(name, {}).items():
        value = keyword(call, key)
        if value is not None and code(value).replace('"', "'") == old:
            call = with_keyword(call, key, new)
    match name:
        case "iteritems" | "get_feature_names" if isinstance(call.func, cst.Attribute):
            return call.with_changes(func=call.func.with_changes(attr=cst.Name(METHODS[name])))
        case "mean_squared_error" if (squared := keyword(call, "squared")) is not None:
            plain = without_keywords(call, "squared")
            return _power(plain, "0.5") if code(squared) == "False" else plain
    return call


def _power(call: cst.Call, by: str) -> cst.BaseExpression:
    return cst.BinaryOperation(call, cst.Power(), cst.parse_expression(by))


@dataclass(frozen=True)
class _Owners:
    """What a script trains with: its libraries by their names, and what is assigned to each name."""

    libraries: Mapping[str, str]
    values: Sequence[tuple[str, cst.BaseExpression]]

    @staticmethod
    def of(module: cst.Module) -> _Owners:
        values = [(code(target.target), one.value) for one in assigns_in(module) for target in one.targets]
        return _Owners(imported(module), values)

    def is_lightgbm(self, owner: cst.BaseExpression) -> bool:
        """Whether a library or a model is LightGBM's; where the source does not say whose it is, by the imports."""
        if isinstance(owner, cst.Name) and owner.value in self.libraries:
            return self.libraries[owner.value] == "lightgbm"
        made = [value for name, value in self.values if name == code(owner)] or [owner]
        kinds = [name_of(one) if isinstance(one, cst.Call) else "" for one in made]
        if all(kind.startswith(("LGBM", "XGB", "CatBoost")) for kind in kinds):
            return all(kind.startswith("LGBM") for kind in kinds)
        used = set(self.libraries.values())
        return "lightgbm" in used and not used & {"xgboost", "catboost"}


def _with_callbacks(call: cst.Call, owners: _Owners) -> cst.Call:
    """LightGBM 4 takes early stopping and logging as callbacks only; others still take them as they were."""
    if name_of(call) not in ("fit", "train") or not isinstance(call.func, cst.Attribute):
        return call
    if not owners.is_lightgbm(call.func.value):
        return call
    rounds, every = keyword(call, "early_stopping_rounds"), keyword(call, "verbose_eval")
    if keyword(call, "callbacks") is not None or (rounds is None and every is None):
        return call
    made = [f"{LIGHTGBM}.early_stopping({code(rounds)})"] if rounds is not None else []
    if every is not None and code(every) not in ("False", "None"):
        made.append(f"{LIGHTGBM}.log_evaluation({'1' if code(every) == 'True' else code(every)})")
    call = without_keywords(call, "early_stopping_rounds", "verbose_eval")
    return with_keyword(call, "callbacks", f"[{', '.join(made)}]")


class _Names(cst.CSTTransformer):
    """Attributes of numpy and modules that are gone."""

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        is_numpy = m.matches(updated_node.value, m.OneOf(m.Name("np"), m.Name("numpy")))
        now = NUMPY.get(updated_node.attr.value, "") if is_numpy else ""
        if now.startswith("."):
            return updated_node.with_changes(attr=cst.Name(now[1:]))
        return cst.Name(now) if now else updated_node

    def leave_ImportFrom(self, original_node: cst.ImportFrom, updated_node: cst.ImportFrom) -> cst.BaseSmallStatement:
        old = code(updated_node.module) if updated_node.module is not None else ""
        if old not in MODULES:
            return updated_node
        now = MODULES[old]
        if now:
            return updated_node.with_changes(module=cst.parse_expression(now))
        is_joblib = isinstance(updated_node.names, tuple | list) and code(updated_node.names[0]).strip() == "joblib"
        return cst.Import([cst.ImportAlias(cst.Name("joblib"))]) if is_joblib else updated_node
