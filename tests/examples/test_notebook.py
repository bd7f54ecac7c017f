import pathlib

import nbclient
import nbformat

NOTEBOOK = pathlib.Path(__file__).parents[2] / "examples" / "tour.ipynb"


def outputs(cell):
    return {kind for output in cell.get("outputs", []) for kind in output.get("data", {})}


def test_the_notebook_runs_and_draws():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # kept without them
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    pictures = [index for index, cell in enumerate(code) if "image/png" in outputs(cell)]
    assert pictures == [2, 3, 4, 5]
    difference = float(code[1].outputs[-1]["data"]["text/plain"])
    assert difference < 1e-4
    text = "".join(output.get("text", "") for output in code[-1].outputs)
    assert "all fills" in text
