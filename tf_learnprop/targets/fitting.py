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


def has_classes(explained: Explained) -> bool:
    """Whether the explained output is `[n, classes]`."""
    shape = explained.output_tensor.shape
    return len(shape) == 2 and shape[-1] is not None


def check_classes(explained: Explained, what: str) -> None:
    """Raises ValueError unless the output is `[n, classes]`, for what explains classes alone so far."""
    if not has_classes(explained):
        raise ValueError(f"{what} needs an output [n, classes]. Received: {name_of_output(explained)}")


def name_of_output(explained: Explained) -> str:
    """The explained output in words."""
    names = explained.graph.output_keys or explained.graph.output_names
    return f"output '{names[explained.output]}' of shape {tuple(explained.output_tensor.shape)}"
