"""What the tests of figures share."""

import pathlib

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images

REFERENCES = pathlib.Path(__file__).with_name("references")


def assert_looks_as(figure: Figure, name: str, folder: pathlib.Path) -> None:
    """Compares a figure without its text, which no two machines draw alike, with a stored picture.

    A failure names the picture drawn; if it is right and the stored one is not, it takes its place.
    """
    for axis in figure.axes:
        axis.set(title="", xlabel="", ylabel="", xticks=[], yticks=[])
        legend = axis.get_legend()
        if legend:
            legend.remove()
    for part in figure.subfigs:
        part.suptitle("")
    FigureCanvasAgg(figure)
    drawn = folder / name
    figure.savefig(drawn, dpi=40)
    difference = compare_images(str(REFERENCES / name), str(drawn), 3)
    assert difference is None, difference
