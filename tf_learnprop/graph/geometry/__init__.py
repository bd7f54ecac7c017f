"""Where the places of each tensor of a graph lie in the explained input."""

from tf_learnprop.graph.geometry.following import placements
from tf_learnprop.graph.geometry.place_matrix import (
    between_matrix,
    place_matrix,
    place_positions,
    places_among,
)
from tf_learnprop.graph.geometry.placement import AxisMap, Placement, SideMap, State
from tf_learnprop.graph.geometry.sides import Places, even_side, is_map, on_sides, places_of, shape_on_sides

__all__ = [
    "AxisMap",
    "Placement",
    "Places",
    "SideMap",
    "State",
    "between_matrix",
    "even_side",
    "is_map",
    "on_sides",
    "place_matrix",
    "place_positions",
    "placements",
    "places_among",
    "places_of",
    "shape_on_sides",
]
