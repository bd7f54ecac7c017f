"""From a model and its rules to signals and maps: one forward pass, one backward pass, a readout."""
