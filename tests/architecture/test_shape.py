"""How the source looks: areas declare what they hold, imports run one way, functions and files stay short."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import trimtab
from tests.contracts.areas import AREAS, PROBLEMS, capability

SOURCE = Path(trimtab.__file__).parent
ROOT = SOURCE.parents[1]
FILES = sorted(SOURCE.rglob("*.py"))
LINES_A_FUNCTION, LINES_A_KERNEL, LINES_A_FILE, PARAMETERS = 45, 120, 350, 6
OPTIONS = 8  # of a verb on the command line, or of core.loop.optimize: keyword-only, each with its own name
VAGUE = {"utils", "helpers", "common", "manager", "managers", "handler", "handlers", "misc"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@pytest.mark.parametrize("area", AREAS)
def test_an_area_declares_every_folder_that_it_has(area: str) -> None:
    module = importlib.import_module(f"trimtab.{area}")
    folders = {one.name for one in (SOURCE / area).iterdir() if one.is_dir() and any(one.glob("*.py"))}
    deciding = {path.split(".")[2] for path in module.PROBLEMS}
    assert deciding | set(module.PARTS) == folders
    assert not deciding & set(module.PARTS)
    assert {one.parent.name for one in (SOURCE / area).glob("*/problem.py")} == deciding


def test_every_problem_has_a_verb_of_its_own() -> None:
    verbs = [capability(path).verb for path in PROBLEMS]
    assert len(set(verbs)) == len(verbs)


def test_imports_run_one_way() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_command_waits_for_a_library_that_only_a_stage_needs() -> None:
    code = (
        "import sys, trimtab.faces.cli.commands, trimtab.faces.cli.running, trimtab.faces.cli.watching;"
        "print(*{'lightgbm', 'numba', 'pandas', 'scipy', 'sklearn', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


def functions() -> Iterator[tuple[str, Function]]:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, Function):
                yield f"{file.relative_to(SOURCE)}:{node.lineno} {node.name}", node


def length(node: Function) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def decorated(node: Function, by: str) -> bool:
    return any(by in ast.unparse(one) for one in node.decorator_list)


def test_functions_are_short() -> None:
    lengths = {place: length(node) for place, node in functions()}
    # The loop of a compiled simulator holds its state in locals: cut up, all of it would be handed from call to call.
    kernels = {place for place, node in functions() if decorated(node, "njit")}
    assert {place: lines for place, lines in lengths.items() if lines > LINES_A_FUNCTION and place not in kernels} == {}
    assert {place: lengths[place] for place in kernels if lengths[place] > LINES_A_KERNEL} == {}
    assert sorted(lengths.values())[len(lengths) // 2] <= 10


def test_files_are_short_and_named_for_what_they_hold() -> None:
    lines = {str(file.relative_to(SOURCE)): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert {place: count for place, count in lines.items() if count > LINES_A_FILE} == {}
    assert [str(file) for file in FILES if VAGUE & set(file.stem.split("_"))] == []


def test_functions_take_few_parameters() -> None:
    many = {}
    for place, node in functions():
        if decorated(node, "njit") or decorated(node, ".command("):
            continue  # compiled kernels take arrays and numbers, not values of ours; a command's are its options
        given = node.args
        positional = [one.arg for one in given.posonlyargs + given.args if one.arg not in ("self", "cls")]
        if len(positional) > PARAMETERS or len(positional) + len(given.kwonlyargs) > OPTIONS:
            many[place] = positional + [one.arg for one in given.kwonlyargs]
    assert many == {}
