"""Export of wrapped models as SavedModels that return attribution maps and need no Python.

`Explainer` uses an exported model, and loads TensorFlow and NumPy alone.
"""

from typing import TYPE_CHECKING

from tf_learnprop import _lazy

if TYPE_CHECKING:
    from tf_learnprop.serving.explainer import Explainer
    from tf_learnprop.serving.saved_model import export

__all__ = ["Explainer", "export"]

__getattr__, __dir__ = _lazy.attach(
    __name__,
    {
        "Explainer": "explainer:Explainer",
        "export": "saved_model:export",
    },
)
