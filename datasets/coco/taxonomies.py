"""What the 80 classes of COCO itself are called elsewhere. A rider is a person there, without the bicycle."""

_OFF_THE_ROAD = (
    "airplane", "boat", "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse",
    "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket",
    "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet", "tv",
    "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book",
    "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip

TAXONOMIES = {
    "road_users": dict.fromkeys(_OFF_THE_ROAD, "drop") | {
        "person": "pedestrian", "bicycle": "bicycle", "car": "car", "motorcycle": "motorcycle", "bus": "bus", "train": "train",
        "truck": "truck",
    },
    "waymo": dict.fromkeys(_OFF_THE_ROAD, "drop") | {
        "person": "pedestrian", "bicycle": "ignore", "car": "vehicle", "motorcycle": "vehicle", "bus": "vehicle",
        "train": "drop", "truck": "vehicle",
    },
}  # fmt: skip
