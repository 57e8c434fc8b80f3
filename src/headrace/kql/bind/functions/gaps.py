"""Functions of Kusto that are known and not there: the name, and why."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_SHAPES = "shapes beyond points, circles, lines and polygons' insides are not computed"
_GRAPH = "graphs are not supported"
_CLUSTER = "it tells of a Kusto cluster, which Headrace is not"
_CURSOR = "database cursors do not exist here"
_DEFENDER = "it asks the cloud of Microsoft Defender"

GAPS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "geo_closest_point_on_line",
                "geo_closest_point_on_polygon",
                "geo_distance_point_to_polygon",
                "geo_intersection_2lines",
                "geo_intersection_2polygons",
                "geo_intersection_line_with_polygon",
                "geo_intersects_2lines",
                "geo_intersects_2polygons",
                "geo_intersects_line_with_polygon",
                "geo_line_buffer",
                "geo_line_centroid",
                "geo_line_densify",
                "geo_line_interpolate_point",
                "geo_line_locate_point",
                "geo_line_simplify",
                "geo_point_buffer",
                "geo_polygon_area",
                "geo_polygon_buffer",
                "geo_polygon_centroid",
                "geo_polygon_densify",
                "geo_polygon_perimeter",
                "geo_polygon_simplify",
                "geo_simplify_polygons_array",
                "geo_union_lines_array",
                "geo_union_polygons_array",
            ),
            _SHAPES,
        ),
        **dict.fromkeys(
            (
                "geo_h3cell_children",
                "geo_h3cell_level",
                "geo_h3cell_neighbors",
                "geo_h3cell_parent",
                "geo_h3cell_rings",
                "geo_h3cell_to_central_point",
                "geo_h3cell_to_polygon",
                "geo_line_to_s2cells",
                "geo_point_to_h3cell",
                "geo_point_to_s2cell",
                "geo_polygon_to_h3cells",
                "geo_polygon_to_s2cells",
                "geo_s2cell_neighbors",
                "geo_s2cell_to_central_point",
                "geo_s2cell_to_polygon",
            ),
            "H3 and S2 cells are not computed",
        ),
        **dict.fromkeys(
            ("all", "inner_nodes", "labels", "map", "node_degree_in", "node_degree_out", "node_id"), _GRAPH
        ),
        **dict.fromkeys(
            (
                "current_cluster_endpoint",
                "current_database",
                "current_node_id",
                "current_principal",
                "current_principal_details",
                "current_principal_is_member_of",
                "extent_id",
                "extent_tags",
                "row_id",
            ),
            _CLUSTER,
        ),
        **dict.fromkeys(("cursor_after", "cursor_before_or_at", "cursor_current"), _CURSOR),
        **dict.fromkeys(("AssignedIPAddresses", "DeviceFromIP", "FileProfile", "SeenBy"), _DEFENDER),
    }
)
"""Why each function is missing, in a user's words, to follow "is not supported: "."""
