"""What a method is: a name, a function, and the forms in which its attributions can be judged."""

from typing import Any, NamedTuple

import numpy as np


class Variant(NamedTuple):
    """A form in which a method's raw attributions can be judged.

    Attributes:
        name: str.
        form: function from (raw attributions, images `[n, h, w, c]`) to maps `[n, h, w]`.
    """

    name: str
    form: Any


class Method(NamedTuple):
    """A method, ready for one model.

    Attributes:
        name: str.
        passes: int, runs of the model for an image, a forward one and a backward one counted once each.
        explain: function from (images float32 `[n, h, w, c]`, targets int `[n]`) to raw attributions.
        variants: `Variant`s; the best one is used.
        source: str, the package that the method comes from; "" for one of the baselines here.
    """

    name: str
    passes: int
    explain: Any
    variants: tuple = (Variant("", lambda raw, images: np.asarray(raw)),)
    source: str = ""
