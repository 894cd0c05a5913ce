"""What Cityscapes' classes of instances are called elsewhere."""

TAXONOMIES = {
    "road_users": {"person": "pedestrian"} | {
        name: name for name in ("rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
    },
    # A rider's box ends above the bicycle, and some ride motorcycles.
    "waymo": {
        "person": "pedestrian", "rider": "cyclist", "car": "vehicle", "truck": "vehicle", "bus": "vehicle",
        "motorcycle": "vehicle", "bicycle": "ignore", "train": "drop",
    },
}  # fmt: skip
