"""What no file of this project may do: run what it has read."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("quant", "compress", "serving", "pipelines", "benchmarks", "docker", "protos", "tests", "dqbart")
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
RUNNING = {"eval", "exec", "compile", "__import__"}
SAFE_LOADERS = {"yaml.SafeLoader", "yaml.CSafeLoader"}
UNSAFE_YAML = {"load", "load_all", "unsafe_load", "unsafe_load_all", "full_load", "full_load_all"}
SHELLS = {"system", "popen", "getoutput", "getstatusoutput", "create_subprocess_shell"}


def sources() -> list[Path]:
    files = [path for name in OURS for path in (ROOT / name).rglob("*.py")]
    assert len(files) > 300
    return files


def faults(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"imports {each.name}" for each in node.names if each.name.partition(".")[0] in PICKLES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in PICKLES:
            yield f"imports {node.module}"
        elif isinstance(node, ast.Call):
            yield from call_faults(node)


def call_faults(call: ast.Call) -> Iterator[str]:
    options = {each.arg: each.value for each in call.keywords}
    shell = options.get("shell")
    if shell is not None and not (isinstance(shell, ast.Constant) and shell.value is False):
        yield "shell="
    remote = options.get("trust_remote_code")
    if remote is not None and not (isinstance(remote, ast.Constant) and remote.value is False):
        yield "trust_remote_code="
    if isinstance(call.func, ast.Name) and call.func.id in RUNNING:
        yield f"{call.func.id}()"
    if not isinstance(call.func, ast.Attribute):
        return
    owner, name = ast.unparse(call.func.value), call.func.attr
    if owner == "torch" and name == "load":
        yield "torch.load()"
    if owner == "torch" and name == "save":
        yield "torch.save()"
    loaders = {ast.unparse(each) for each in [*call.args[1:], *options.values()]}
    if owner == "yaml" and name in UNSAFE_YAML and not (loaders and loaders <= SAFE_LOADERS):
        yield f"yaml.{name}()"
    pickles = options.get("allow_pickle")
    if owner in ("numpy", "np") and name == "load" and not (isinstance(pickles, ast.Constant) and pickles.value is False):
        yield "numpy.load()"
    if owner in ("os", "subprocess", "asyncio") and name in SHELLS:
        yield f"{owner}.{name}()"


EXCEPTIONS = ["tests/compress/model/test_checkpoint.py: torch.save()"]
"""Makes the pickle that is then refused."""


def test_nothing_that_was_read_is_run() -> None:
    found = [f"{path.relative_to(ROOT)}: {fault}" for path in sources() for fault in faults(ast.parse(path.read_text()))]
    assert found == EXCEPTIONS


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from cloudpickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.load(text)",
        "yaml.load_all(text, yaml.UnsafeLoader)",
        "numpy.load(path)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "exec(text)",
        "subprocess.run(text, shell=True)",
        "subprocess.run(text, shell=asked)",
        "os.system(text)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_the_search_finds_it(code: str) -> None:
    assert list(faults(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "yaml.load_all(text, yaml.CSafeLoader)",
        "yaml.load(text, Loader=yaml.SafeLoader)",
        "np.load(path, allow_pickle=False)",
    ],
)
def test_what_reads_data_alone_may_stay(code: str) -> None:
    assert not list(faults(ast.parse(code)))


def test_no_file_of_the_repository_has_pickled_weights() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout")
    suffixes = {Path(name).suffix for name in listed.stdout.splitlines()}
    assert not suffixes & {".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".npy", ".npz", ".joblib"}
