"""Scripts made cheaper: patches, the fence around edits, real runs on shifted seeds, apply and revert."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.e2e.test_cli import trimtab
from trimtab.core.errors import InputError
from trimtab.core.model import Comparison, Failure, Proposal, Refusal, Sample
from trimtab.stages.speedup import Order, speedup
from trimtab.training.allocation.heard import Heard
from trimtab.training.scripts.integrity import objections
from trimtab.training.scripts.metric import find, gap, goal_of
from trimtab.training.scripts.patches import KNOWN, PatchFault, applicable, patched, repaired
from trimtab.training.scripts.plan import CURRENT, Edit, PatchPlan
from trimtab.training.scripts.problem import PlanRefused, Speedup, speeding
from trimtab.training.scripts.running import Ran, Script, ran

SOURCES = {
    "one-thread": ('"""Doc."""\nimport torch\ntorch.set_num_threads(8)\n', "os.environ[_name] = '1'"),
    "one-job": ("search = GridSearchCV(model, grid, n_jobs=-1)\n", "GridSearchCV(model, grid, n_jobs=1)"),
    "jobs-outside-only": (
        "GridSearchCV(RandomForestClassifier(n_jobs=-1), grid, n_jobs=-1)\n",
        "GridSearchCV(RandomForestClassifier(n_jobs=1), grid, n_jobs=-1)",
    ),
    "loader-in-process": (
        "DataLoader(data, 8, num_workers=4, prefetch_factor=2, shuffle=True)\n",
        "DataLoader(data, 8, num_workers=0, shuffle=True)",
    ),
    "load-once": (
        "for fold in range(5):\n    rows = pd.read_csv('rows.csv')\n    fit(rows, fold)\n",
        "rows = pd.read_csv('rows.csv')\nfor fold in range(5):\n    fit(rows, fold)\n",
    ),
    "loader-workers": (
        "DataLoader(data, 8, num_workers=0, shuffle=True)\nnet.cuda()\n",
        "num_workers=min(4, __import__('os').cpu_count()), shuffle=True, persistent_workers=True, pin_memory=True)",
    ),
    "tf32": (
        "import torch\nnet = Net().cuda()\n",
        "import torch\ntorch.set_float32_matmul_precision('high')\nnet = Net()",
    ),
    "bf16-forward": (
        "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        return x\nNet().cuda()\n",
        "    @torch.autocast('cuda', dtype=torch.bfloat16)\n    def forward(self, x)",
    ),
    "pipeline-memory": (
        "cross_val_score(make_pipeline(Scale(), Fit()), x, y)\n",
        "make_pipeline(Scale(), Fit(), memory=__import__('tempfile').mkdtemp())",
    ),
    "no-gradients-in-evaluation": (
        "import torch\ndef evaluate(net):\n    return net(1)\n", "@torch.no_grad()\ndef evaluate(net):",
    ),
    "fused-optimizer": ("torch.optim.AdamW(net.parameters(), lr=1e-3)\n", "lr=1e-3, fused=True)"),
    "fused-cells": (
        "for t in range(x.size(1)):\n    h, c = self.LSTMCell(x[:, t], (h, c))\n    outs.append(h)\n",
        "outs.extend(_outs.unbind(1))",
    ),
    "half-the-threads": ("import numpy\n", "len(os.sched_getaffinity(0)) // 2"),
    "rows-at-once": (
        "from torch.utils.data import DataLoader, TensorDataset\nloader = DataLoader(TensorDataset(x, y), 32)\n",
        "DataLoader(_RowsAtOnce(x, y), 32, collate_fn=lambda rows: rows)",
    ),
    "windows-at-once": (
        "import torch\nrows = torch.stack([codes[one : one + n + 1] for one in at])\n",
        "codes[torch.as_tensor(at)[:, None] + torch.arange(0, 0 + n + 1)]",
    ),
    "vectorised-loops": (
        "import numpy as np\nfor i in range(n):\n    d = x[i] - y[i]\n    total += d * d\n",
        "d = (np.asarray(x)[:n] - np.asarray(y)[:n])\ntotal += np.sum((d * d), axis=0)",
    ),
    "no-debugging": ("import gc\nfor step in range(9):\n    train()\n    gc.collect()\n", "    pass"),
    "no-waiting-for-sums": (
        "import torch\nfor b in rows:\n    total += loss.item()\n",
        "total = total + loss.detach()",
    ),
    "early-stopping": ("model.fit(x, y, eval_set=[(a, b)])\n", "early_stopping(30, verbose=False)])"),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_a_patch_changes_what_it_is_for_and_leaves_the_rest(name: str) -> None:
    source, wanted = SOURCES[name]
    made = patched(f"# mine\n{source}", PatchPlan((name,)))
    assert wanted in made
    assert "# mine" in made
    compile(made, "made", "exec")
    if not name.endswith(("thread", "threads")):
        assert patched(made, PatchPlan((name,))) == made
        assert name not in applicable("value = 1  # nothing to do\n")


@pytest.mark.parametrize(
    "source",
    [
        "for fold in range(5):\n    rows = pd.read_csv(paths[fold])\n    fit(rows)\n",  # another file each time
        "for fold in range(5):\n    rows = pd.read_csv('a')\n    rows = rows.dropna()\n",  # set twice
        "for t in range(9):\n    h, c = LSTMCell(x[:, t + 1], (h, c))\n",  # not step by step
        "for t in range(9):\n    h, c = LSTMCell(x[:, t], (h, c))\n    h = h * mask\n",  # the state is changed between
        "def train(net):\n    loss.backward()\n",
        "for i in range(n):\n    x[i] = x[i - 1] + 1\n",  # each turn needs the one before
        "for i in range(n):\n    total += x[i]\n    print(total)\n",
        "for i in range(n):\n    d = x[i]\n    total += d\nprint(d)\n",  # the last one is used
        "for i in range(n):\n    total += f(x[i])\n",  # what f does with an array is not known
        "for i in range(n):\n    total = total * x[i]\n",
        "for i in range(n):\n    total += x[i]\n    count += 1\n",  # n times, not once
        "for i in range(n):\n    one = weight * 2\n    total += one\n",
        "for _, row in rows.iterrows():\n    total += row['a']\n    count += 1\n",
        "for i in range(n):\n    total = 0.0\n    total += x[i]\n    out[i] = total\n",  # begun anew
        "for i in range(n):\n    out[i] = max(x[i], y[i], z[i])\n",  # np.maximum would write into z
        "for i in range(n):\n    out[i] = max(*x[i], y[i])\n",
        "for i in range(n):\n    d = x[i]\n    total += d[0]\n",  # of the row, not the first row
        "for i in range(n):\n    d = x[i]\n    total += given.d\n",
        "for i in range(n):\n    d = x[i]\n    total += d.size\n",
        "for i in range(n):\n    total += x[i]\n    out[i] = y[total]\n",
        "for i in range(n):\n    out[i] = min(x[i], y[i], key=abs)\n",
        "for i in range(n):\n    out[i] = math.log(x[i], base)\n",
        "torch.stack([codes[one : 2 * one] for one in at])\n",  # of different lengths
        "loader = DataLoader(rows, 32, collate_fn=mine)\n",
        "import gc\ngc.collect()\n",  # once
    ],
)
def test_what_only_looks_alike_is_left_alone(source: str) -> None:
    found = set(applicable("import torch\nimport numpy as np\n" + source))
    assert found <= {"one-thread", "half-the-threads"}


def test_calls_that_newer_libraries_renamed_are_mended() -> None:
    old = (
        "x = np.float(3) + np.int(2)\nOneHotEncoder(sparse=False)\nfor k, v in frame.iteritems(): pass\nnp.float32(1)\n"
    )
    new = repaired(old)
    assert "float(3) + int(2)" in new
    assert "OneHotEncoder(sparse_output=False)" in new
    assert "frame.items()" in new
    assert "np.float32(1)" in new
    for before, after in (
        ("np.product(x) + np.Inf", "np.prod(x) + np.inf"),
        ("mean_squared_error(a, b, squared=False)", "mean_squared_error(a, b)**0.5"),
        ("RandomForestRegressor(max_features='auto', n_jobs=2)", "RandomForestRegressor(max_features=1.0, n_jobs=2)"),
        ("from sklearn.externals import joblib", "import joblib"),
        ("from sklearn.cross_validation import KFold", "from sklearn.model_selection import KFold"),
        (
            "import lightgbm as lgb\nlgb.train(p, d, early_stopping_rounds=5, verbose_eval=False)",
            "import lightgbm as lgb\nlgb.train(p, d, callbacks=[__import__('lightgbm').early_stopping(5)])",
        ),
    ):
        assert repaired(before).replace(" ** ", "**") == after


def test_callbacks_are_given_to_lightgbm_alone() -> None:
    fit, mended = (
        "fit(x, y, early_stopping_rounds=5)\n",
        "fit(x, y, callbacks=[__import__('lightgbm').early_stopping(5)])\n",
    )
    both = "import lightgbm as lgb\nimport xgboost as xgb\n"
    for source in (both + "LGBMClassifier()." + fit, both + "self.model = lgb.LGBMRegressor()\nself.model." + fit,
                   "from lightgbm import LGBMRegressor\ndef run(model):\n    model." + fit):  # fmt: skip
        assert repaired(source) == source.replace(fit, mended)
    for source in (
        "import xgboost as xgb\nxgb.train(p, d, early_stopping_rounds=5, verbose_eval=False)\n",
        both + "xgb.train(p, d, early_stopping_rounds=5, verbose_eval=False)\n",
        both + "model = xgb.XGBClassifier()\nmodel." + fit,
        "import catboost, lightgbm\nmodel = catboost.CatBoostClassifier()\nmodel." + fit,
        both + "for model in models:\n    model." + fit,  # whose it is, is not known
        "import lightgbm\n" + fit,  # a function of the script's own
    ):
        assert repaired(source) == source


def test_whole_arrays_come_out_as_their_elements_did() -> None:
    source = textwrap.dedent("""
        import math
        import numpy as np
        x, y, n = np.linspace(0.1, 2, 50), list(np.linspace(3, 1, 50)), 40
        total, out = 0.0, np.zeros(50)
        for i in range(n):
            d = x[i] - y[i] ** 2
            total += abs(d) * math.exp(-x[i]) + i
        for i in range(len(x)):
            out[i] = max(x[i], 1.0) / (i + 1)
        places, taken = np.arange(50)[::-1].copy(), 0.0
        for i in range(n):
            at = places[i]
            places[i] = 0
            taken += x[at]
        made = total, out.sum(), taken, places.sum()
    """)
    better = patched(source, PatchPlan(("vectorised-loops",)))
    assert "for i" not in better
    told = []
    for one in (source, better):
        names: dict[str, object] = {}
        exec(one, names)
        told.append(names["made"])
    assert told[1] == pytest.approx(told[0], rel=1e-12)


def test_a_sum_of_tensors_leaves_the_sums_kept_before_as_they_were() -> None:
    torch = pytest.importorskip("torch")
    source = (
        "import torch\ntotal = 0\n"
        "for loss in losses:\n    total += loss.item(); kept.append(total)\n    sums[where()] += loss.item()\n"
    )
    better = patched(source, PatchPlan(("no-waiting-for-sums",)))
    assert "total = total + loss.detach(); kept" in better
    assert "sums[where()] += loss.item()" in better  # where it is, is asked once
    kept: list[float] = []
    exec(better, {"losses": torch.tensor([1.0, 2.0, 3.0]), "kept": kept, "sums": [0.0], "where": lambda: 0})
    assert [float(one) for one in kept] == [1.0, 3.0, 6.0]


@pytest.mark.parametrize(
    "source",
    [
        "model.fit(x, y, eval_set=[(a, b)])\nprint('auc', roc_auc_score(SCORED, guess))\n",
        "held = [(a, b)]\nmodel.fit(x, y, eval_set=held)\nprint('accuracy', model.score(SCORED, f))\n",
        "rows = lgb.Dataset(a, label=b)\nmodel = lgb.train(p, d, valid_sets=[d, rows])\nmodel.predict(SCORED)\n",
        "import xgboost\nmodel = XGBClassifier()\nmodel.fit(x, y, eval_set=[(a, b)])\nmodel.predict(SCORED)\n",
    ],
)
def test_rows_that_are_scored_do_not_stop_the_rounds(source: str) -> None:
    assert "early-stopping" not in applicable(source.replace("SCORED", "a"))
    assert "early-stopping" in applicable(source.replace("SCORED", "e"))


def test_edits_fit_once_or_not_at_all() -> None:
    source = "a = 1\nb = 2\nb = 2\n"
    assert patched(source, PatchPlan(edits=(Edit("a = 1", "a = 3"),))) == "a = 3\nb = 2\nb = 2\n"
    for before, after, said in (("b = 2", "b = 3", "2 times"), ("z", "y", "0 times"), ("a = 1", "a = (", "line")):
        with pytest.raises(PatchFault, match=said):
            patched(source, PatchPlan(edits=(Edit(before, after),)))
    with pytest.raises(PatchFault, match="no patch"):
        patched(source, PatchPlan(("magic",)))


HONEST = "import numpy as np\nloss = 0.0\nfor i in range(9):\n    loss += i\nprint('loss', loss)\n"


@pytest.mark.parametrize(
    "edit",
    [
        ("loss = 0.0", "loss = 0.0; import time; time.perf_counter = lambda: 0"),
        ("loss = 0.0", "loss = 0.0; import os; os.environ['OMP_NUM_THREADS'] = '1'"),
        ("loss = 0.0", "loss = 0.0; import subprocess"),
        ("loss = 0.0", "loss = eval('0.0')"),
        ("loss = 0.0", "loss = 0.0; open('/tmp/kept', 'w')"),
        ("loss = 0.0", "loss = 0.0; np.save('kept', loss)"),
        ("loss = 0.0", "loss = np.load('kept.npy')"),
        ("loss = 0.0", "loss = 0.0; from trimtab import hooks"),
        ("loss = 0.0", "loss = 0.0; ().__class__.__bases__"),
        ("loss = 0.0", "loss = 0.0; getattr(np, '__builtins__'); __builtins__"),
        ("loss = 0.0", "loss = 0.0; import ctypes"),
        ("loss = 0.0", "loss = 0.0; globals()['x'] = 1"),
        ("loss = 0.0", "loss = 0.0; import sys; sys.exit()"),
        ("loss = 0.0", "loss = 0.0; import gc; gc.disable()"),
        ("loss = 0.0", "loss = 0.0; import pickle"),
        ("loss = 0.0", "loss = 0.0; import multiprocessing.shared_memory"),
        ("loss = 0.0", "loss = 0.0; import socket"),
        ("loss = 0.0", "loss = 0.0; import atexit"),
        ("print('loss', loss)", "print('loss', 36.0)"),
        ("print('loss', loss)", "pass"),
    ],
)
def test_an_edit_that_reaches_beyond_the_training_is_refused(edit: tuple[str, str]) -> None:
    assert objections(HONEST, HONEST.replace(*edit))


def test_an_honest_edit_is_let_through() -> None:
    assert objections(HONEST, HONEST.replace("for i in range(9):\n    loss += i", "loss = float(sum(range(9)))")) == []


def test_a_metric_is_found_in_what_is_printed_or_logged() -> None:
    text = "epoch 1 loss: 0.5 acc=0.7\nepoch 2 loss: 2.5e-1 acc=0.8\n{'auc': .91}\nval_loss 9\n"
    found = find("loss", Heard(), text)
    assert found is not None
    assert found.curve == (0.5, 0.25)
    assert find("auc", Heard(), text).last == 0.91  # type: ignore[union-attr]
    heard = Heard(metrics={"valid_0 auc": 0.6}, curves={"valid_0 auc": [(0, 0.5), (1, 0.6)]})
    assert find("auc", heard, "").curve == (0.5, 0.6)  # type: ignore[union-attr]
    assert find("f1", heard, text) is None
    assert goal_of("val_loss") == "min"
    assert goal_of("accuracy") == "max"
    assert goal_of("thing", "max") == "max"
    for name, given in (("thing", ""), ("loss", "up")):
        with pytest.raises(InputError):
            goal_of(name, given)
    assert gap((1.0, 2.0), (1.0, 2.0 + 2e-9)) < 1e-8
    assert gap((1.0,), (1.0, 2.0)) == float("inf")


def script(tmp_path: Path, code: str, *arguments: str) -> Script:
    path = tmp_path / "train.py"
    path.write_text(textwrap.dedent(code))
    return Script(str(path), arguments, "loss", sys.executable, 30.0)


def test_seeds_are_shifted_and_results_repeat(tmp_path: Path) -> None:
    one = script(tmp_path, """
        import random, sys
        import numpy as np
        random.seed(3)
        np.random.seed(4)
        parts = [random.random(), np.random.rand(), np.random.default_rng(5).random(), np.random.RandomState(6).rand()]
        print("loss", sum(p * 10 ** -i for i, p in enumerate(parts)), "of", parts, sys.argv[1:])
    """, "--epochs", "3")  # fmt: skip
    source = Path(one.path).read_text()
    outcomes = [ran(one, source, shift) for shift in (0, 0, 1, 1, 2)]
    values = [made.found.last for made in outcomes if isinstance(made, Ran)]
    assert values[0] == values[1]
    assert values[2] == values[3]
    assert len(set(values)) == 3
    import random

    import numpy as np

    random.seed(3)
    np.random.seed(4)
    parts = [random.random(), np.random.rand(), np.random.default_rng(5).random(), np.random.RandomState(6).rand()]
    assert values[0] == pytest.approx(sum(p * 10**-i for i, p in enumerate(parts)))  # unshifted: as the user's own


def test_a_script_that_holds_a_gpu_is_judged_by_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class AllOnOne:
        """NVIDIA's library on a machine where each process computes on the one GPU."""

        NVMLError, nvmlInit = OSError, staticmethod(lambda: None)
        nvmlDeviceGetCount = staticmethod(lambda: 1)
        nvmlDeviceGetHandleByIndex = staticmethod(lambda at: at)
        nvmlDeviceGetUtilizationRates = staticmethod(lambda _: SimpleNamespace(gpu=50))
        nvmlDeviceGetComputeRunningProcesses = staticmethod(
            lambda _: [SimpleNamespace(pid=int(one), usedGpuMemory=9) for one in os.listdir("/proc") if one.isdigit()]
        )

    code = "import time  # torch, cuda\ntime.sleep(1.5)\nprint('loss', 1.0)\n"
    problem, _ = speeding(script(tmp_path, code), cache=tmp_path / "cpu")
    assert (problem.objective.metric, problem.reference(0).spent.gpu_seconds) == ("cpu_seconds", 0.0)
    monkeypatch.setitem(sys.modules, "pynvml", AllOnOne)
    problem, notes = speeding(script(tmp_path, code), cache=tmp_path / "gpu")
    assert problem.objective.metric == "wall_seconds"
    assert problem.reference(0).spent.gpu_seconds > 1
    assert problem.reference(0).spent.peak_gpu_bytes == 9
    assert any("holds a GPU" in one for one in notes)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit(2)", "exit code 2"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9"),
        ("print(input())", "it reads standard input"),
        ("print('accuracy', 0.5)", "it said no 'loss'; it said accuracy"),
        ("print('loss', float('nan'))", "is NaN"),
        ("import nothing_like_this", "ModuleNotFoundError"),
    ],
)
def test_a_run_that_cannot_be_judged_says_why(code: str, said: str, tmp_path: Path) -> None:
    made = ran(script(tmp_path, code), code, 0)
    assert isinstance(made, Failure)
    assert said in made.reason


def test_a_run_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("1,2\n")
    one = script(tmp_path, """
        import os, subprocess, sys
        open("rows.csv", "a").write("3,4\\n"); open("new", "w").write("x")
        code = "import time; time.sleep(300)  # left by a run"
        subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
        print("loss", 1.0)
    """)  # fmt: skip
    made = ran(one, Path(one.path).read_text(), 0)
    assert isinstance(made, Ran)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["rows.csv", "train.py"]
    assert (tmp_path / "rows.csv").read_text() == "1,2\n"
    time.sleep(0.2)
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert b"left by a run" not in entry.read_bytes() or b"pytest" in entry.read_bytes()
        except OSError:
            continue


WASTEFUL = """
import numpy as np

rng = np.random.default_rng(1)
weights = np.zeros(3)
for epoch in range(40):
    rows = np.loadtxt("rows.csv", delimiter=",")
    x, y = rows[:, :3], rows[:, 3]
    for at in rng.permutation(len(x))[:200]:
        weights += 0.01 * (y[at] - x[at] @ weights) * x[at]
    print("epoch", epoch, "loss", float(np.mean((y - x @ weights) ** 2)))
"""


@pytest.fixture
def wasteful(tmp_path: Path) -> Path:
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.normal(size=(3_500, 3))
    y = x @ [1.0, -2.0, 0.5] + rng.normal(size=len(x))
    np.savetxt(tmp_path / "rows.csv", np.column_stack([x, y]), delimiter=",")
    path = tmp_path / "train.py"
    path.write_text(WASTEFUL)
    return path


def problem(path: Path) -> Speedup:
    return speeding(Script(str(path), (), "loss"), cache=path.parent / ".cache")[0]


def test_versions_that_cheat_are_refused(wasteful: Path) -> None:
    found = problem(wasteful)
    sample = Sample("holdout", 3, 1.0)
    found.measure(PatchPlan(("load-once",)), sample)
    cheats = {
        "told 10 values": Edit("range(40)", "range(10)"),
        "brings in .save": Edit("weights = np.zeros(3)", "weights = np.zeros(3); np.save('a', weights)"),
        "takes out a line that tells": Edit("float(np.mean((y - x @ weights) ** 2))", "0.5"),
    }
    for said, edit in cheats.items():
        with pytest.raises(PlanRefused, match=said):
            found.measure(PatchPlan(edits=(edit,)), sample)
    with pytest.raises(PlanRefused, match="changes nothing"):
        found.measure(PatchPlan(("loader-in-process",)), sample)
    drawing = drawing_anew(wasteful)
    with pytest.raises(PlanRefused, match="should be the same"):
        drawing.measure(PatchPlan(("load-once",)), sample)


def drawing_anew(path: Path) -> Speedup:
    """A script that draws its rows anew in each turn: drawn once, they make another training."""
    source = path.read_text()
    (path.parent / "draw.py").write_text(
        "import numpy as np\nrng = np.random.default_rng(9)\ndef load_rows():\n    return rng.normal(size=(500, 4))\n"
    )
    path.write_text(source.replace("import numpy as np", "import numpy as np\nfrom draw import load_rows", 1).replace(
        'np.loadtxt("rows.csv", delimiter=",")', "load_rows()"))  # fmt: skip
    return problem(path)


def test_a_script_is_made_cheaper_applied_and_put_back(wasteful: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(wasteful.parent)
    monkeypatch.setenv("TRIMTAB_MODEL", "none")
    result = speedup(Order(wasteful, "loss", budget=120.0))
    assert wasteful.read_text() == WASTEFUL
    assert "load-once" in result.row.chosen
    assert "rows = np.loadtxt" in str(result.facts["diff"])
    identity = str(result.decision["id"])  # type: ignore[index]
    applied = trimtab("apply", identity, at=wasteful.parent)
    assert applied.returncode == 0, applied.stderr
    assert wasteful.read_text() == result.facts["text"]
    assert trimtab("revert", identity, at=wasteful.parent).returncode == 0
    assert wasteful.read_text() == WASTEFUL
    wasteful.write_text(WASTEFUL + "\n# mine\n")
    changed = trimtab("apply", identity, at=wasteful.parent)
    assert changed.returncode == 2
    assert "has changed since" in changed.stderr
    wasteful.write_text(WASTEFUL)
    again = trimtab("speedup", "train.py", "--metric", "loss", "--budget", "120", "--json", at=wasteful.parent)
    assert json.loads(again.stdout)["decision"]["id"] == identity  # from the ledger, nothing run again


def test_a_script_that_is_never_the_same_twice_is_judged_by_how_good_it_is(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text(
        "import random, time\nfrom data import load_rows\nrandom.seed(time.time_ns())\n"
        "for epoch in range(3):\n    rows = load_rows()\n    print('loss', 1 + 0.001 * random.random())\n"
    )
    (tmp_path / "data.py").write_text("def load_rows():\n    return sorted(range(10**5))\n")
    found = problem(path)
    assert not found.repeats(0)
    made = found.measure(PatchPlan(("load-once",)), Sample("search", 0, 1.0))
    assert made.metrics["loss"] == pytest.approx(1.0, abs=0.002)


class Told:
    """A proposer that has one idea."""

    def __init__(self, *edits: Edit) -> None:
        self.name, self._plans = "told", [PatchPlan(edits=edits)]

    def propose(self, brief: object) -> list[Proposal[PatchPlan]]:
        plans, self._plans = self._plans, []
        return [Proposal(one, "told", "it seems faster") for one in plans]


def test_a_version_that_is_cheaper_and_worse_is_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRIMTAB_MODEL", "none")
    path = tmp_path / "train.py"
    path.write_text(
        "import random\nrandom.seed(0)\nloss = 1.0\nfor step in range(20):\n    for _ in range(20000):\n"
        "        loss *= 1 - 1e-6 * random.random()\n    print('loss', loss)\n"
    )
    found = speedup(Order(path, "loss", budget=20.0), Told(Edit("range(20000)", "range(2000)")))  # type: ignore[arg-type]
    assert found.row.chosen == "as it is"
    assert found.decision["chosen"] is None or found.row.by == "current"


BAD = {
    "broken.py": (b"def (:\n", "broken.py is no Python: line 1"),
    "binary.py": (b"\xff\xfe\x00", "cannot be read"),
    "train.sh": (b"#!/bin/sh\necho loss 1\n", "train.sh is no Python: line 2"),
    "asks.py": (b"print('loss', float(input()))\n", "standard input"),
    "nan.py": (b"print('loss', float('nan'))\n", "its loss is NaN"),
    "needs.py": (b"import sys\nprint('loss', float(sys.argv[1]))\n", "IndexError"),
    "half.py": (b"print('loss', 1.0)\nraise RuntimeError('half way')\n", "half way"),
    "silent.py": (b"import os\nif not os.fork():\n    os._exit(0)\n", "it said no 'loss'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_script_that_cannot_be_judged_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content, said = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        speedup(Order(Path(name), "loss"))
    assert caught.value.hint
    assert (tmp_path / name).read_bytes() == content


def test_bad_options_get_one_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("print('loss', 1.0)\n")
    for order, said in (
        (Order(Path("nowhere.py"), "loss"), "nowhere.py is no file"),
        (Order(Path("train.py"), "thing"), "is less thing better"),
        (Order(Path("train.py"), "loss", tolerance=7.0), "a tolerance is a share"),
    ):
        with pytest.raises(InputError, match=said):
            speedup(order)
    done = trimtab("speedup", "train.py", "--metric", "accuracy", at=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("trimtab: train.py: it said no 'accuracy'; it said loss")
    assert "Traceback" not in done.stderr


def test_one_call_of_lstm_is_the_loop_of_cells(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "train.py"
    path.write_text(
        textwrap.dedent("""
        import torch
        torch.manual_seed(0)
        cell = torch.nn.LSTMCell(2, 8)
        x = torch.randn(4, 12, 2)
        optimizer = torch.optim.SGD(cell.parameters(), lr=0.1)
        for step in range(5):
            h, c, outs = torch.zeros(4, 8), torch.zeros(4, 8), []
            for t in range(x.size(1)):
                h, c = cell(x[:, t], (h, c))
                outs.append(h)
            loss = (torch.stack(outs, 1) ** 2).mean() + c.mean() + h.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            print("loss", loss.item())
    """)
    )
    one = Script(str(path), (), "loss")
    before = ran(one, path.read_text(), 7)
    after = ran(one, patched(path.read_text(), PatchPlan(("fused-cells",))), 7)
    assert isinstance(before, Ran)
    assert isinstance(after, Ran)
    assert before.steps == after.steps == 5
    assert gap(before.found.curve, after.found.curve) < 1e-4


def test_a_plan_of_nothing_is_the_script(tmp_path: Path) -> None:
    assert patched("a = 1", CURRENT) == "a = 1"
    assert Comparison is not Refusal
