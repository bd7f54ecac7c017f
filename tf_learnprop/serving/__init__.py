"""Export of wrapped models as SavedModels that return attribution maps and need no Python."""

from tf_learnprop.serving.saved_model import export
from tf_learnprop_explainer import Explainer, Explanations

__all__ = ["Explainer", "Explanations", "export"]
