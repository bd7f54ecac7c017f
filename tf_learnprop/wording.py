"""Values as people read them."""


def probability(value: float) -> str:
    """A probability as a text of few digits, which never reads as 0 or 1 if it is not."""
    if 0 < value < 0.001:
        return "< 0.1 %"
    if 0.999 < value < 1:
        return "> 99.9 %"
    return f"{value:.1%}".replace("%", " %")
