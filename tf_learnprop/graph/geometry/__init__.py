"""Where the places of each tensor of a graph lie in the explained input."""

from tf_learnprop.graph.geometry.following import placements
from tf_learnprop.graph.geometry.place_matrix import place_matrix, place_positions
from tf_learnprop.graph.geometry.placement import AxisMap, Placement, SideMap, State

__all__ = ["AxisMap", "Placement", "SideMap", "State", "place_matrix", "place_positions", "placements"]
