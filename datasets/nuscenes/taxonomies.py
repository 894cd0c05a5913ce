"""What nuScenes' categories are called elsewhere. A bicycle's box holds its rider, if there is one."""

_PEDESTRIANS = {
    f"human.pedestrian.{kind}": "pedestrian" for kind in ("adult", "child", "construction_worker", "police_officer")
}
_UNCLEAR = {f"human.pedestrian.{kind}": "ignore" for kind in ("personal_mobility", "stroller", "wheelchair")}
_OTHER = ("animal", "movable_object.debris", "movable_object.pushable_pullable", "static_object.bicycle_rack")
_EMERGENCY = ("vehicle.emergency.ambulance", "vehicle.emergency.police")

TAXONOMIES = {
    # The ten classes of the detection benchmark.
    "detection": _PEDESTRIANS | _UNCLEAR | dict.fromkeys((*_OTHER, *_EMERGENCY), "ignore") | {
        "vehicle.car": "car", "vehicle.truck": "truck", "vehicle.bus.bendy": "bus", "vehicle.bus.rigid": "bus",
        "vehicle.trailer": "trailer", "vehicle.construction": "construction_vehicle", "vehicle.motorcycle": "motorcycle",
        "vehicle.bicycle": "bicycle", "movable_object.trafficcone": "traffic_cone", "movable_object.barrier": "barrier",
    },
    "road_users": _PEDESTRIANS | _UNCLEAR | dict.fromkeys(_OTHER, "drop") | {
        "vehicle.car": "car", "vehicle.truck": "truck", "vehicle.bus.bendy": "bus", "vehicle.bus.rigid": "bus",
        "vehicle.trailer": "ignore", "vehicle.construction": "ignore", "vehicle.emergency.ambulance": "ignore",
        "vehicle.emergency.police": "car", "vehicle.motorcycle": "motorcycle", "vehicle.bicycle": "bicycle",
        "movable_object.trafficcone": "drop", "movable_object.barrier": "drop",
    },
    "waymo": _PEDESTRIANS | _UNCLEAR | dict.fromkeys(_OTHER, "drop") | dict.fromkeys(_EMERGENCY, "vehicle") | {
        "vehicle.car": "vehicle", "vehicle.truck": "vehicle", "vehicle.bus.bendy": "vehicle", "vehicle.bus.rigid": "vehicle",
        "vehicle.trailer": "vehicle", "vehicle.construction": "vehicle", "vehicle.motorcycle": "vehicle",
        "vehicle.bicycle": "ignore", "movable_object.trafficcone": "drop", "movable_object.barrier": "drop",
    },
}  # fmt: skip
