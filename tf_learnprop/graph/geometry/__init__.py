"""Where the places of each tensor of a graph lie in the explained input."""

from tf_learnprop.graph.geometry.at_run_time import at_run_time
from tf_learnprop.graph.geometry.following import placements
from tf_learnprop.graph.geometry.place_matrix import (
    between_matrix,
    place_matrix,
    place_positions,
    places_among,
)
from tf_learnprop.graph.geometry.placement import AxisMap, Placement, SideMap, State
from tf_learnprop.graph.geometry.sides import Places, even_side, is_map, on_sides, places_of, shape_on_sides
from tf_learnprop.graph.geometry.varying import constant, length_of

__all__ = [
    "AxisMap",
    "Placement",
    "Places",
    "SideMap",
    "State",
    "at_run_time",
    "between_matrix",
    "constant",
    "even_side",
    "is_map",
    "length_of",
    "on_sides",
    "place_matrix",
    "place_positions",
    "placements",
    "places_among",
    "places_of",
    "shape_on_sides",
]
