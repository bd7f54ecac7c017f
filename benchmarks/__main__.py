"""The command `python -m benchmarks NAME [options]`."""

import argparse
import ast
import importlib
import pathlib

_HERE = pathlib.Path(__file__).parent
RESULTS = _HERE.parent / "results"


def benchmarks() -> dict[str, str]:
    """Docstrings of all benchmarks by name; their modules, which need TensorFlow, are not imported."""
    files = sorted(path for path in _HERE.glob("*.py") if not path.name.startswith("__"))
    return {path.stem: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) for path in files}


def main(arguments: list[str] | None = None) -> None:
    """Runs one benchmark.

    A benchmark is a module with `add_options(parser)` and `run(options)`.

    Args:
        arguments: Name of the benchmark and its options. Defaults to those of the command line.
    """
    found = benchmarks()
    summaries = "\n".join(f"  {name:17}{text.splitlines()[0]}" for name, text in found.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Runs one benchmark. Its own options are shown by `python -m benchmarks NAME --help`.",
        epilog=f"benchmarks:\n{summaries}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", choices=found)
    parser.add_argument("options", nargs=argparse.REMAINDER, help="options of the benchmark")
    chosen = parser.parse_args(arguments)
    module = importlib.import_module(f"benchmarks.{chosen.name}")
    options = argparse.ArgumentParser(
        prog=f"{parser.prog} {chosen.name}",
        description=found[chosen.name],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--results", type=pathlib.Path, default=RESULTS, help="folder for what is written")
    module.add_options(options)
    module.run(options.parse_args(chosen.options))


if __name__ == "__main__":
    main()
