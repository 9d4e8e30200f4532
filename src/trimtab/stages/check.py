"""check, composed: profile, findings, leaks, what a language model suspects; then repairs, judged by a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from trimtab.adapters.sources.dataset import DataSpec, load, part, require_enough, target_of
from trimtab.adapters.sources.tables import read_table
from trimtab.core.budget import Meter, charged
from trimtab.core.model import Json, Spend
from trimtab.core.wire import digest
from trimtab.data.quality.plan import Action
from trimtab.data.quality.problem import Greedy, Repairs, ideas
from trimtab.data.quality.repair import dropped, repaired
from trimtab.data.quality.semantics import Meaning, ask_columns
from trimtab.monitoring.profile.findings import Finding, findings
from trimtab.monitoring.profile.leaks import Strength, strengths, written_with_target
from trimtab.monitoring.profile.profile import NumberColumn, Profile, WordColumn, summary
from trimtab.monitoring.profile.scan import profile_file
from trimtab.pipeline import Results, Row, StageResult
from trimtab.stages.deciding import author, chosen_plan, decide, gain_text, method, proposers, trials_table
from trimtab.views import decision_view
from trimtab.workplace import Workplace

MOST_STRENGTHS = 60  # columns whose strength alone is measured
MOST_DROPS = 40  # columns whose drop is tried
MOST_TEXT = 3


def run(workplace: Workplace, results: Results) -> StageResult:
    """Find what is wrong with the table and what leaks; try repairs and drops."""
    overhead = Meter()
    with charged(overhead):
        require_enough(workplace.data)
        profile = profile_file(workplace.data.table)
        found = list(findings(profile))
        table = read_table(workplace.data.table)
        leaks, measured = _leaks(workplace, table)
        found += leaks
        meanings, notes = _asked(workplace, profile, measured, leaks)
    # What the user declared as known is told, not taken away: it is their word against a suspicion.
    settled = {*workplace.data.exclude, *workplace.config.data.known}
    excluded = tuple(dict.fromkeys(one.column for one in leaks if one.column not in settled))
    data = _without(workplace.data, excluded)
    problem = Repairs(data, workplace.config.model.metric, _actions(data, found), 1)
    if not problem.actions:
        seen = _facts(profile, found, measured, meanings, notes)
        return _nothing_to_do(seen, found, overhead.spent, excluded)
    decision = decide(
        workplace, problem, proposers(workplace, problem.name, ideas, search=Greedy()), workplace.config.budget.check
    )
    chosen = problem.chosen(chosen_plan(decision).actions)
    facts = _facts(profile, found, measured, meanings, notes)
    facts["exclude"] = list(excluded)
    facts["dropped"] = list(dropped(chosen))
    facts["table"] = _write_repaired(workplace, table, chosen)
    facts["tables"] = [*_list(facts["tables"]), trials_table(decision.trials, problem.objective)]
    row = Row(
        current=f"{len(load(workplace.data).names)} columns as they are",
        chosen=_actions_text(excluded, chosen),
        saving=gain_text(decision, problem.objective),
        method=method(decision),
        by=author(decision),
    )
    view = decision_view(decision, problem.objective)
    told = tuple(one.as_json() for one in found)
    return StageResult("check", row, view, facts, told, decision.spent + overhead.spent)


def _leaks(workplace: Workplace, table: pa.Table) -> tuple[list[Finding], list[Strength]]:
    """What is only known later, by the data; and how strong each column is alone."""
    data = workplace.data
    target, source = target_of(table, data)
    names = tuple(name for name in table.column_names if name != source)
    written = written_with_target(table, target, names)
    everything = load(_without(data, (), keep_none=True))
    tested = everything.names[:MOST_STRENGTHS]
    trusted = tuple(name for name in tested if name not in written and name not in data.exclude)
    train, held_out = (part(everything, data, one) for one in ("train", "valid"))
    measured = strengths(train, held_out, tested, trusted)
    declared = set(data.exclude)
    leaks = [
        Finding("later", name, 1.0, _written_text(name in declared, source), "never use it to predict")
        for name in written
    ]
    for one in measured:
        if one.is_suspect and one.column not in written:
            leaks.append(Finding("leaking", one.column, 1.0, _strength_text(one), "never use it to predict"))
    return leaks, measured


def _written_text(is_declared: bool, source: str) -> str:
    agreed = "as declared, " if is_declared else "not declared: "
    return f"{agreed}only known later: it is missing where {source} is missing, and hardly anywhere else"


def _strength_text(one: Strength) -> str:
    return f"alone it predicts at {one.alone:.3f}, all other columns together at {one.others:.3f}: it must know more"


def _asked(
    workplace: Workplace, profile: Profile, measured: Sequence[Strength], leaks: Sequence[Finding]
) -> tuple[tuple[Meaning, ...], list[str]]:
    """What a language model says of the columns, and whether it helped."""
    config = workplace.config
    if workplace.model is None:
        return (), []
    source = target_of(read_table(workplace.data.table), workplace.data)[1]
    shown = {name: (column.type, _values(column)) for name, column in profile.columns.items() if name != source}
    order = sorted(shown, key=lambda name: name not in [one.column for one in measured if one.is_suspect])
    most = max(0, config.budget.model_calls - 1)
    said, silent = ask_columns(
        workplace.model, config.name, config.data.moment, {name: shown[name] for name in order}, most
    )
    leaking = {one.column for one in leaks}
    suspected = {one.column for one in said if one.when == "later"}
    both, alone = sorted(suspected & leaking), sorted(suspected - leaking)
    notes = [
        f"{workplace.model.name} was asked about {len(said) + len(silent)} columns and answered for {len(said)}. Of "
        f"{len(leaking)} columns that the data show to be known only later it suspected {len(both)}"
        + (f" ({', '.join(both)})" if both else "")
        + (f"; {len(alone)} more suspicions were not borne out by the data ({', '.join(alone)})." if alone else ".")
        + (" It added nothing that the data did not show." if both or not suspected else "")
    ]
    return said, notes


def _values(column: NumberColumn | WordColumn) -> list[str]:
    if isinstance(column, WordColumn):
        return sorted(column.words, key=lambda word: -column.words[word])[:MOST_TEXT]
    if not column.present:
        return []
    return [f"{value:.6g}" for value in column.quantiles((0.25, 0.5, 0.75))]


def _actions(data: DataSpec, found: Sequence[Finding]) -> tuple[Action, ...]:
    """Drops of every usable column, what is wrong first; and impossible values as missing."""
    names = load(data).names
    wrong = {"constant", "near_constant", "duplicated", "identifier", "all_missing"}
    suspects = [one for one in found if one.kind in wrong and one.column in names]
    reasons = {one.column: one.message for one in suspects}
    order = [*reasons, *(name for name in names if name not in reasons)]
    drops = [Action("drop", name, reasons.get(name, "perhaps it misleads")) for name in order[:MOST_DROPS]]
    voids = [
        Action("void", one.column, one.message, one.low, one.high)
        for one in found
        if one.kind in ("impossible", "outlying", "infinite") and one.column in names
    ]
    unique = {one.name: one for one in [*voids, *(drops if len(names) > 1 else [])]}
    return tuple(unique.values())


def _write_repaired(workplace: Workplace, table: pa.Table, chosen: Sequence[Action]) -> str:
    """The repaired table beside the original; its path, or an empty string when no value changed."""
    voids = [one for one in chosen if one.kind == "void"]
    if not voids:
        return ""
    to = Path(workplace.cache) / f"repaired-{digest([workplace.data.fingerprint, voids])[:16]}.parquet"
    if not to.exists():
        building = to.with_suffix(".tmp")
        pyarrow.parquet.write_table(repaired(table, voids), building, compression="zstd")
        building.replace(to)
    return str(to)


def _without(data: DataSpec, more: Sequence[str], *, keep_none: bool = False) -> DataSpec:
    from dataclasses import replace

    return replace(data, exclude=() if keep_none else tuple(dict.fromkeys((*data.exclude, *more))))


def _actions_text(excluded: Sequence[str], chosen: Sequence[Action]) -> str:
    parts = [f"without {', '.join(excluded)}"] if excluded else []
    parts += [one.name for one in chosen]
    return "; ".join(parts) or "unchanged"


def _facts(
    profile: Profile,
    found: Sequence[Finding],
    measured: Sequence[Strength],
    meanings: Sequence[Meaning],
    notes: Sequence[str],
) -> dict[str, Json]:
    tables: list[Json] = [_profile_table(profile, meanings)]
    bars: list[Json] = [
        {"label": one.column, "value": max(0.0, one.alone), "mark": "current" if one.is_suspect else ""}
        for one in sorted(measured, key=lambda one: -one.alone)[:20]
    ]
    plots: list[Json] = []
    if bars:
        plots.append(
            {"kind": "bars", "title": "What each column predicts alone (held-out rows)", "unit": "", "rows": bars}
        )
    return {"profile": summary(profile), "notes": list(notes), "tables": tables, "plots": plots}


def _profile_table(profile: Profile, meanings: Sequence[Meaning]) -> Json:
    said = {one.column: f"{one.text} ({one.meaning})" for one in meanings}
    rows: list[Json] = []
    for name, column in list(profile.columns.items())[:60]:
        share = column.missing / max(1, column.rows)
        if isinstance(column, NumberColumn):
            ends = [column.written(one) for one in (column.low, column.high)] if column.present else ["", ""]
        else:
            ends = [f"{column.distinct:,} values", ""]
        rows.append([name, column.type, f"{share:.1%}", *ends, *([said.get(name, "")] if said else [])])
    head: Json = ["column", "type", "missing", "low", "high", *(["meaning, by the language model"] if said else [])]
    return {"title": f"{profile.rows:,} rows", "head": head, "rows": rows}


def _nothing_to_do(
    seen: Mapping[str, Json], found: Sequence[Finding], spent: Spend, excluded: tuple[str, ...]
) -> StageResult:
    row = Row("as it is", _actions_text(excluded, ()), "nothing to repair", "run", "rules")
    facts: Mapping[str, Json] = {**seen, "exclude": list(excluded), "table": ""}
    return StageResult("check", row, None, facts, tuple(one.as_json() for one in found), spent)


def _list(value: Any) -> list[Json]:
    return list(value or ())
