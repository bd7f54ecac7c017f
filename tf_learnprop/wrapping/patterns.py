"""Patterns of layer names, as `wrap_model` takes them."""

import fnmatch
from collections.abc import Iterable

from tf_learnprop.graph.activations import ActivationSite

_SHOWN = 20


def matches(site: ActivationSite, pattern: str) -> bool:
    """Whether a pattern matches the name of a site, its path, or the path of a layer around it."""
    names = site.path.split("/")
    paths = ["/".join(names[: k + 1]) for k in range(len(names))]
    return any(fnmatch.fnmatchcase(name, pattern) for name in [names[-1], *paths])


def matching(sites: Iterable[ActivationSite], patterns: str | Iterable[str], argument: str) -> set[str]:
    """Paths of the sites that any of the patterns matches.

    Args:
        sites: All sites of a model.
        patterns: A pattern, or several.
        argument: Name of the argument that holds the patterns.

    Raises:
        TypeError: If a pattern is not a string.
        ValueError: If a pattern matches no site.
    """
    sites, paths = list(sites), set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if not isinstance(pattern, str):
            raise TypeError(f"`{argument}` must hold patterns of layer names. Received: {pattern!r}")
        hits = {site.path for site in sites if matches(site, pattern)}
        if not hits:
            raise ValueError(
                f"`{argument}` pattern {pattern!r} matches none of the model's activations: "
                + ", ".join(site.path for site in sites[:_SHOWN])
                + (", …" if len(sites) > _SHOWN else "")
            )
        paths |= hits
    return paths
