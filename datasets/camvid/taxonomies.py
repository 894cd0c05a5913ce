"""What CamVid's classes are called elsewhere."""

TAXONOMIES = {
    "cityscapes": {
        "sky": "sky", "building": "building", "pole": "pole", "road": "road", "pavement": "sidewalk", "tree": "vegetation",
        "signsymbol": "traffic sign", "fence": "fence", "car": "car", "pedestrian": "person", "bicyclist": "rider",
    },
}  # fmt: skip
