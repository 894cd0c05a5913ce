"""What the synthetic world's classes are called elsewhere."""

TAXONOMIES = {
    "cityscapes": {
        "road": "road", "lane_marking": "road", "pavement": "sidewalk", "terrain": "terrain", "building": "building",
        "vegetation": "vegetation", "pole": "pole", "traffic_sign": "traffic sign", "sky": "sky", "car": "car",
        "truck": "truck", "pedestrian": "person", "cyclist": "rider",
    },
    "road_users": {
        "car": "car", "truck": "truck", "pedestrian": "pedestrian", "cyclist": "rider", "traffic_sign": "drop",
    },
}  # fmt: skip
