"""Maps of whole data sets, on the engine that is there: threads of one process, or a cluster."""

from typing import TYPE_CHECKING

from tf_learnprop import _lazy

if TYPE_CHECKING:
    from tf_learnprop.scale.formats import Columns
    from tf_learnprop.scale.map_files import MapExtras, MapFiles, read_maps
    from tf_learnprop.scale.running import ENGINES, Result, explain_dataset

__all__ = ["ENGINES", "Columns", "MapExtras", "MapFiles", "Result", "explain_dataset", "read_maps"]

__getattr__, __dir__ = _lazy.attach(
    __name__,
    {
        "ENGINES": "running:ENGINES",
        "Columns": "formats:Columns",
        "MapExtras": "map_files:MapExtras",
        "MapFiles": "map_files:MapFiles",
        "Result": "running:Result",
        "explain_dataset": "running:explain_dataset",
        "read_maps": "map_files:read_maps",
    },
)
