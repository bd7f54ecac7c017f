import pathlib

import nbclient
import nbformat
import pytest

NOTEBOOK = pathlib.Path(__file__).parents[2] / "examples" / "tour.ipynb"


def outputs(cell):
    return {kind for output in cell.get("outputs", []) for kind in output.get("data", {})}


@pytest.mark.parametrize("eagerly", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_notebook_runs_and_draws(eagerly):
    """Eagerly, as each of its functions is called once or twice, and a trace of them takes far longer."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if eagerly:
        code[0].source += "\nimport tensorflow as tf\ntf.config.run_functions_eagerly(True)"
    kept = [bool(cell.outputs) for cell in code]
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    pictures = [index for index, cell in enumerate(code) if "image/png" in outputs(cell)]
    assert pictures == [3, 4, 5, 6, 7, 10]
    assert [bool(cell.outputs) for cell in code] == kept  # the file shows what a run shows
    texts = ["".join(output.get("text", "") for output in cell.outputs) for cell in code]
    assert float(texts[2].split()[-1]) < 1e-4
    assert "all fills" in texts[9]


def test_the_notebook_is_small():
    assert NOTEBOOK.stat().st_size < 1e6
