"""What the labels call things."""

SEMANTIC_CLASSES = (
    "road",
    "lane_marking",
    "pavement",
    "terrain",
    "building",
    "vegetation",
    "pole",
    "traffic_sign",
    "sky",
    "car",
    "truck",
    "pedestrian",
    "cyclist",
)
BOX_CLASSES = ("car", "truck", "pedestrian", "cyclist", "traffic_sign")
SEMANTIC_ID = {name: number for number, name in enumerate(SEMANTIC_CLASSES)}

ROAD, LANE_MARKING, PAVEMENT, TERRAIN, BUILDING, VEGETATION, POLE = range(7)
TRAFFIC_SIGN, SKY, CAR, TRUCK, PEDESTRIAN, CYCLIST = range(7, 13)
