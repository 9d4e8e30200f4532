"""What an edit that somebody wrote must not do: reach for the clock, the harness, other runs, or the way out.

The checks are on the syntax tree, and only what the edit brings in is looked at: a script may do with its own files
what it did before. Results are judged by runs on shifted seeds; this is the fence around them.
"""

from __future__ import annotations

import ast
from collections import Counter

FORBIDDEN_IMPORTS = {
    "trimtab", "sitecustomize", "subprocess", "multiprocessing", "socket", "urllib", "requests", "http", "ctypes",
    "signal", "resource", "atexit", "gc", "inspect", "sys", "pickle", "joblib", "shelve", "sqlite3", "tempfile",
    "pathlib", "shutil", "importlib", "builtins", "runpy", "faulthandler",
}  # fmt: skip
FORBIDDEN_NAMES = {
    "open", "exec", "eval", "compile", "__import__", "globals", "setattr", "delattr", "vars", "input", "breakpoint",
    "exit", "quit",
}  # fmt: skip
FORBIDDEN_ATTRIBUTES = {
    "system", "popen", "environ", "putenv", "_exit", "kill", "fork", "execv", "perf_counter", "process_time",
    "monotonic", "manual_seed", "save", "load", "dump", "dumps", "memmap", "tofile", "fromfile", "savez", "get_ipython",
}  # fmt: skip


def objections(before: str, after: str) -> list[str]:
    """What an edit brings into a script that it must not; empty where there is nothing."""
    old, new = _uses(before), _uses(after)
    found = [what for what, count in new.items() if count > old.get(what, 0)]
    lost = _printed(before) - _printed(after)
    return [f"the edit brings in {one}" for one in sorted(found)] + (
        ["the edit takes out a line that tells the metric, or writes its value down"] if lost else []
    )


def _uses(source: str) -> Counter[str]:
    """Forbidden things by how often they are there."""
    uses: Counter[str] = Counter()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                uses.update(f"import {one.name}" for one in names if one.name.split(".")[0] in FORBIDDEN_IMPORTS)
            case ast.ImportFrom(module=module) if (module or "").split(".")[0] in FORBIDDEN_IMPORTS:
                uses[f"import {module}"] += 1
            case ast.Name(id=name) if name in FORBIDDEN_NAMES or name.startswith("__"):
                uses[name] += 1
            case ast.Attribute(attr=name) if name in FORBIDDEN_ATTRIBUTES or name.startswith("__"):
                uses[f".{name}"] += 1
    return uses


def _printed(source: str) -> Counter[str]:
    """What is printed or logged, as expressions: a number in a name's place would be another one."""
    told: Counter[str] = Counter()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            told.update(ast.unparse(one) for one in node.args)
    return told
