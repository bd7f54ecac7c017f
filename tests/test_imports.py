"""Which modules may import which: the rules of docs/architecture.md, read from the source."""

import ast
import graphlib
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = "tf_learnprop"

#: Imports that break a rule today, with the reason.
EXCEPTIONS = {
    ("scale", "_lazy"): "loads names when they are used, in the package and its folders",
}


class Import(NamedTuple):
    """A module or a name of the package that a module imports, without the name of the package itself.

    Attributes:
        source: The module that imports.
        target: What it imports, such as `graph.reader.Reader`.
        at_start: Whether it does so when it is loaded: not in a function, nor for type checkers alone.
    """

    source: str
    target: str
    at_start: bool

    def __str__(self) -> str:
        return f"{self.source} imports {self.target}"

    @property
    def known(self) -> bool:
        return (self.source, self.target) in EXCEPTIONS


def name_of(path: pathlib.Path) -> str:
    """Name of a module, without that of the package."""
    parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def statements(node: ast.AST, at_start: bool = True) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """The import statements below a node."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, at_start
        else:
            late = is_for_types(child) or isinstance(child, ast.FunctionDef)
            yield from statements(child, at_start and not late)


def imports_of(source: str, text: str) -> list[Import]:
    """What a module imports from the package."""
    found = []
    for node, at_start in statements(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{source} has a relative import"
            names = [f"{node.module}.{name.name}" for name in node.names]
        else:
            names = [name.name for name in node.names]
        ours = [name.removeprefix(f"{PACKAGE}.") for name in names if name.startswith(f"{PACKAGE}.")]
        found += [Import(source, name, at_start) for name in ours]
    return found


MODULES = {name_of(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}
IMPORTS = [
    one for name, path in MODULES.items() for one in imports_of(name, path.read_text(encoding="utf-8"))
]


def is_in(name: str, *places: str) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def is_private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def of(*places: str) -> list[Import]:
    """The imports of some places from the rest of the package."""
    return [one for one in IMPORTS if is_in(one.source, *places) and not is_in(one.target, *places)]


def refused(imports: list[Import], *places: str) -> list[str]:
    """The imports of places that should not be imported."""
    return [str(one) for one in imports if is_in(one.target, *places) and not one.known]


def module_of(target: str) -> str:
    """The module that holds an imported name."""
    while target not in MODULES:
        target = target.rpartition(".")[0]
    return target


def test_imports_are_read():
    text = """\
from typing import TYPE_CHECKING
import numpy
from tf_learnprop import heat
if TYPE_CHECKING:
    from tf_learnprop.model import PropagationModel
class A:
    import tf_learnprop.fills
    def b(self):
        from tf_learnprop.plotting import curves as c
"""
    assert imports_of("a", text) == [
        Import("a", "heat", True),
        Import("a", "model.PropagationModel", False),
        Import("a", "fills", True),
        Import("a", "plotting.curves", False),
    ]
    assert module_of("model.PropagationModel") == "model" and module_of("heat") == "heat"


@pytest.mark.parametrize("place", ["app", "cli", "scale", "scale.audit"])
def test_private_names_stay_at_home(place):
    assert not [str(one) for one in of(place) if is_private(one.target) and not one.known]


@pytest.mark.parametrize("place", ["app", "scale"])
def test_those_who_use_maps_know_nothing_of_how_they_are_made(place):
    assert not refused(of(place), "graph", "backward")


@pytest.mark.parametrize("place", ["metrics", "serving", "model"])
def test_figures_are_loaded_when_they_are_drawn(place):
    assert not refused([one for one in of(place) if one.at_start], "plotting")


def test_nothing_imports_the_command():
    assert not refused([one for one in IMPORTS if not is_in(one.source, "cli", "__main__")], "cli")


def test_the_graph_knows_no_rules():
    assert not refused(of("graph"), "rules", "readouts", "backward", "training")


@pytest.mark.parametrize("place", ["rules", "readouts"])
def test_rules_and_readouts_know_the_ground_alone(place):
    ground = (
        "argument_checks",
        "registry",
        "resampling",
        "placing",
        "relevance_sums",
        "by_sample",
        "processors",
        "tracing",
        "rules.base",
        "readouts.base",
    )
    assert not [str(one) for one in of(place) if not is_in(one.target, *ground) and not one.known]


def test_there_is_no_circle():
    depends: dict[str, set[str]] = {name: set() for name in MODULES}
    for one in IMPORTS:
        target = module_of(one.target)
        if one.at_start and not one.known and target != one.source:
            depends[one.source].add(target)
    assert list(graphlib.TopologicalSorter(depends).static_order())


def test_exceptions_are_needed():
    assert set(EXCEPTIONS) <= {(one.source, one.target) for one in IMPORTS}
