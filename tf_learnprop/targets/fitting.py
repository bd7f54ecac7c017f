"""Which targets fit which outputs."""

from tf_learnprop.graph.explained import Explained

#: Targets that fit an output of a rank.
_OF_RANK = {
    1: ("Value()",),
    2: ("Value()", "Similarity(...)"),
    3: ("Region(...)", "Token(...)", "Box(...)", "Detection(...)"),
}
_OF_PLACES = ("Region(...)", "Pixel(...)")


def check_output(explained: Explained, target: str, form: str, fits: bool) -> None:
    """Raises ValueError unless a target fits the explained output.

    Args:
        explained: The output.
        target: The target, in words.
        form: The outputs that it fits, in words.
        fits: Whether the output is one of them.
    """
    if fits:
        return
    shape = tuple(explained.output_tensor.shape)
    names = [f"`targets=tlp.targets.{name}`" for name in _OF_RANK.get(len(shape), _OF_PLACES)]
    raise ValueError(
        f"{target} needs an output {form}. Received: {name_of_output(explained)}. "
        f"Use {' or '.join(names)} there, or a function of the outputs."
    )


def name_of_output(explained: Explained) -> str:
    """The explained output in words."""
    shape = tuple(explained.output_tensor.shape)
    return f"output '{explained.graph.output_names[explained.output]}' of shape {shape}"
