"""What BDD100K's classes are called elsewhere. Its semantic classes have Cityscapes' names, and need no mapping."""

TAXONOMIES = {
    "road_users": {"traffic light": "drop", "traffic sign": "drop"} | {
        name: name for name in ("pedestrian", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
    },
    # A rider's box ends above the bicycle, and some ride motorcycles.
    "waymo": {
        "pedestrian": "pedestrian", "rider": "cyclist", "car": "vehicle", "truck": "vehicle", "bus": "vehicle",
        "motorcycle": "vehicle", "bicycle": "ignore", "train": "drop", "traffic light": "drop", "traffic sign": "drop",
    },
}  # fmt: skip
