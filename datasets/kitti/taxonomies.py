"""What KITTI's classes are called elsewhere."""

TAXONOMIES = {
    # As the official evaluation: it passes over what is like a class that it scores.
    "benchmark": {
        "Car": "car", "Pedestrian": "pedestrian", "Cyclist": "cyclist", "Van": "ignore", "Person_sitting": "ignore",
        "Truck": "drop", "Tram": "drop", "Misc": "drop",
    },
    # A cyclist's box holds the bicycle too.
    "road_users": {
        "Car": "car", "Van": "car", "Truck": "truck", "Tram": "train", "Pedestrian": "pedestrian",
        "Person_sitting": "pedestrian", "Cyclist": "rider", "Misc": "ignore",
    },
    "waymo": {
        "Car": "vehicle", "Van": "vehicle", "Truck": "vehicle", "Pedestrian": "pedestrian", "Person_sitting": "pedestrian",
        "Cyclist": "cyclist", "Tram": "drop", "Misc": "ignore",
    },
}  # fmt: skip
