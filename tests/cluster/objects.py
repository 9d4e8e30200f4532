"""Kubernetes objects checked as its API server would: against the official schemas, closed to unknown fields."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastjsonschema
import yaml

SCHEMAS = Path(__file__).parent / "schemas"


def objects(text: str) -> list[dict[str, Any]]:
    """The objects of a file, each one checked. Raises JsonSchemaException or AssertionError."""
    found = list(yaml.safe_load_all(text))
    for one in found:
        _checker(one["apiVersion"], one["kind"])(one)
        if one["kind"] == "ClusterQueue":
            _check_queue(one["spec"])
    return found


def patch(text: str) -> dict[str, Any]:
    """A strategic-merge patch: an object whose fields may be left out."""
    (one,) = yaml.safe_load_all(text)
    _checker(one["apiVersion"], one["kind"], is_partial=True)(one)
    return one  # type: ignore[no-any-return]


def _check_queue(spec: dict[str, Any]) -> None:
    """What Kueue's definition says beside the schema (x-kubernetes-validations)."""
    for group in spec.get("resourceGroups", []):
        for flavor in group["flavors"]:
            assert [one["name"] for one in flavor["resources"]] == group["coveredResources"]
            assert "cohortName" in spec or not any("borrowingLimit" in one for one in flavor["resources"])
    preemption = spec.get("preemption", {})
    assert preemption.get("reclaimWithinCohort", "Never") != "Never" or "borrowWithinCohort" not in preemption


@functools.cache
def _checker(version: str, kind: str, *, is_partial: bool = False) -> Callable[[Any], Any]:
    file = {"keda.sh": "keda", "kueue.x-k8s.io": "kueue"}.get(version.split("/")[0], "kubernetes")
    schema = json.loads((SCHEMAS / f"{file}.json").read_text(encoding="utf-8"))
    if kind in schema["definitions"]:
        schema = {**schema, "$ref": f"#/definitions/{kind}"}
        assert version in schema["definitions"][kind]["properties"]["apiVersion"]["enum"]
    return fastjsonschema.compile(_optional(schema) if is_partial else schema)  # type: ignore[no-any-return]


def _optional(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _optional(one) for key, one in schema.items() if key != "required" or isinstance(one, dict)}
    return [_optional(one) for one in schema] if isinstance(schema, list) else schema
