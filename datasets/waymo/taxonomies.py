"""The classes of Waymo's pictures; signs are labelled in sweeps alone."""

TAXONOMIES = {
    "waymo": {"vehicle": "vehicle", "pedestrian": "pedestrian", "cyclist": "cyclist", "sign": "ignore"},
}
