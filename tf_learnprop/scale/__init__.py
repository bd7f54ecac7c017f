"""Maps of whole data sets, on the engine that is there: one process, or a cluster."""
