"""Maps of whole data sets, on the engine that is there: threads of one process, or a cluster."""

from tf_learnprop.scale.formats import Columns
from tf_learnprop.scale.reading import MapFiles, Maps, read_maps
from tf_learnprop.scale.running import ENGINES, Result, explain_dataset

__all__ = ["ENGINES", "Columns", "MapFiles", "Maps", "Result", "explain_dataset", "read_maps"]
