"""Results and files that are kept, by all that they depend on: settings, code and library versions.

What is asked for with other settings, or after a change of the code that decides it, is computed anew.
"""

import ast
import functools
import hashlib
import importlib.metadata
import inspect
import json
import pathlib
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
#: Code that decides which maps rules give, and how rules are trained.
RULES = (
    "tf_learnprop/areas.py",
    "tf_learnprop/backward",
    "tf_learnprop/fills.py",
    "tf_learnprop/graph",
    "tf_learnprop/inputs",
    "tf_learnprop/layers.py",
    "tf_learnprop/model.py",
    "tf_learnprop/objectives.py",
    "tf_learnprop/readouts",
    "tf_learnprop/replicas.py",
    "tf_learnprop/resampling.py",
    "tf_learnprop/rule_files",
    "tf_learnprop/rules",
    "tf_learnprop/training",
    "tf_learnprop/universal",
    "tf_learnprop/wrapped.py",
    "tf_learnprop/wrapping",
    "benchmarks/evaluation/learned_rules.py",
    "benchmarks/evaluation/universal_rule.py",
)
#: Code that decides the models and images. Results also depend on the weights of the models.
SUBJECTS = (
    "tf_learnprop/zoo",
    "benchmarks/evaluation/images.py",
    "benchmarks/evaluation/known_images.py",
    "benchmarks/evaluation/small_models.py",
    "benchmarks/evaluation/subjects.py",
)
#: Code that decides the models of known evidence, and the classifiers that are trained on all of CIFAR.
KNOWN_MODELS = (
    "benchmarks/evaluation/known_images.py",
    "benchmarks/evaluation/known_models.py",
    "benchmarks/evaluation/token_models.py",
)
KNOWN_SERIES = ("benchmarks/evaluation/known_series.py", "benchmarks/evaluation/known_series_models.py")
CIFAR_MODELS = ("benchmarks/evaluation/cifar_models.py", "benchmarks/evaluation/token_models.py")
#: Code that decides what is measured of given maps.
MEASURES = (
    *SUBJECTS,
    "tf_learnprop/resampling.py",
    "tf_learnprop/inputs",
    "tf_learnprop/metrics",
    "tf_learnprop/fills.py",
    "benchmarks/evaluation/measures.py",
)
#: Code that decides the maps of the methods that ours are compared with.
PEERS = (
    "benchmarks/evaluation/method.py",
    "benchmarks/evaluation/methods.py",
    "tf_learnprop/methods",
)
_PACKAGES = ("tensorflow", "keras", "numpy")

Code = Iterable[str | Callable]


class ResultStore:
    """Results in a file of JSON lines, one line for each result.

    A line is appended as soon as a result is there, so that an interrupted run loses only what it was
    computing. A line that was cut off is ignored.

    Args:
        path: File; it and its folder are made when the first result is kept.
        root: Folder that paths in `code` start from.
    """

    def __init__(self, path: pathlib.Path, root: pathlib.Path = ROOT):
        self._path, self._root = pathlib.Path(path), root
        self._results = {}
        text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        self._torn = not text.endswith("\n") and bool(text)
        for line in text.splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            self._results[row["key"]] = row["result"]

    def get(self, settings: dict[str, Any], code: Code) -> Any | None:
        """The result that was kept for these settings and the present code, or None."""
        return self._results.get(key(settings, code, self._root))

    def get_or_compute(self, settings: dict[str, Any], code: Code, compute: Callable[[], Any]) -> Any:
        """The result that was kept for these settings and the present code, else that of `compute`.

        Args:
            settings: All else that the result depends on, as JSON values.
            code: Files, folders and functions whose source decides the result, see `code_digest`.
            compute: Function without arguments that returns JSON values or NumPy arrays.

        Returns:
            The result as JSON values.
        """
        code = tuple(code)
        found = key(settings, code, self._root)
        if found not in self._results:
            line = json.dumps({"key": found, "settings": settings, "result": compute()}, default=_plain)
            self._append(line)
            self._results[found] = json.loads(line)["result"]
        return self._results[found]

    def _append(self, line):
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write("\n" * self._torn + line + "\n")
        self._torn = False


def key(settings: dict[str, Any], code: Code, root: pathlib.Path = ROOT) -> str:
    """Hash of settings, code and the versions of TensorFlow, Keras and NumPy."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    parts = {"settings": settings, "code": code_digest(code, root), "versions": versions}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_plain).encode()).hexdigest()


def kept_file(
    folder: pathlib.Path, stem: str, suffix: str, settings: dict[str, Any], code: Code
) -> pathlib.Path:
    """Path of a file in `folder`, whose name says what the file depends on; the folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{stem}-{key(settings, code)[:12]}{suffix}"


def code_digest(code: Code, root: pathlib.Path = ROOT) -> str:
    """Hash of what code does: comments, docstrings and layout do not count.

    Args:
        code: Paths of files or folders below `root`, and functions. In a folder all files count.
        root: Folder.

    Raises:
        FileNotFoundError: a path does not exist.
    """
    digest = hashlib.sha256()
    for part in code:
        if callable(part):
            _add(digest, part.__qualname__, _normalised(textwrap.dedent(inspect.getsource(part))))
            continue
        for file in _files(root / part):
            content = file.read_bytes()
            name = file.relative_to(root).as_posix()
            _add(digest, name, _normalised(content) if file.suffix == ".py" else content)
    return digest.hexdigest()


def file_digest(path: pathlib.Path) -> str:
    """Hash of the content of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def arrays_digest(arrays: Iterable[np.ndarray]) -> str:
    """Hash of arrays, their shapes and dtypes."""
    digest = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        _add(digest, f"{array.shape} {array.dtype}", array.tobytes())
    return digest.hexdigest()


def _add(digest, name, content):
    for part in (name.encode(), content):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)


def _files(path):
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"`code` must name files and folders that exist. Received: {path}")
    return sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


@functools.cache  # the same files count for many results, and to parse them all takes a second
def _normalised(source):
    """Python source as its syntax tree without docstrings, as bytes."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree).encode()


def _plain(value):
    """A NumPy array or number as JSON values."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"Settings and results must be JSON values or NumPy arrays. Received: {value!r}")
