"""Export of wrapped models as SavedModels that return attribution maps and need no Python."""

from tf_learnprop.serving.saved_model import export

__all__ = ["export"]
