"""What Argoverse 2's categories are called elsewhere. A bicyclist or motorcyclist is the person, without the vehicle."""

_ALIKE = {
    "PEDESTRIAN": "pedestrian", "OFFICIAL_SIGNALER": "pedestrian", "STROLLER": "ignore", "WHEELCHAIR": "ignore",
    "WHEELED_DEVICE": "ignore", "MOTORCYCLIST": "ignore", "WHEELED_RIDER": "ignore",
}  # fmt: skip
_DROPPED = ("ANIMAL", "DOG", "BOLLARD", "CONSTRUCTION_BARREL", "CONSTRUCTION_CONE", "MOBILE_PEDESTRIAN_CROSSING_SIGN", "SIGN",
            "STOP_SIGN")  # fmt: skip
_TRAILERS = ("MESSAGE_BOARD_TRAILER", "TRAFFIC_LIGHT_TRAILER", "VEHICULAR_TRAILER")
_MOTOR = {
    "REGULAR_VEHICLE": "car", "TRUCK": "truck", "BOX_TRUCK": "truck", "TRUCK_CAB": "truck", "BUS": "bus", "SCHOOL_BUS": "bus",
    "ARTICULATED_BUS": "bus", "MOTORCYCLE": "motorcycle",
}  # fmt: skip

TAXONOMIES = {
    "road_users": _ALIKE | _MOTOR | dict.fromkeys(_DROPPED, "drop") | dict.fromkeys(_TRAILERS, "ignore") | {
        "LARGE_VEHICLE": "ignore", "RAILED_VEHICLE": "train", "BICYCLE": "bicycle", "BICYCLIST": "rider",
        "MOTORCYCLIST": "rider", "WHEELED_RIDER": "rider",
    },
    "waymo": _ALIKE | dict.fromkeys((*_MOTOR, *_TRAILERS), "vehicle") | dict.fromkeys(_DROPPED, "drop") | {
        "LARGE_VEHICLE": "vehicle", "RAILED_VEHICLE": "drop", "BICYCLE": "ignore", "BICYCLIST": "cyclist",
    },
}  # fmt: skip
