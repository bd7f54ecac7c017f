"""Export of wrapped models as SavedModels that return attribution maps and need no Python.

`Explainer` uses an exported model, and loads TensorFlow and NumPy alone.
"""

from typing import TYPE_CHECKING

from tf_learnprop import _lazy

if TYPE_CHECKING:
    from tf_learnprop.serving.explainer import Explainer, Explanations
    from tf_learnprop.serving.saved_model import export

__all__ = ["Explainer", "Explanations", "export"]

__getattr__, __dir__ = _lazy.attach(
    __name__,
    {
        "Explainer": "explainer:Explainer",
        "Explanations": "explainer:Explanations",
        "export": "saved_model:export",
    },
)
