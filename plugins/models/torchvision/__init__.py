"""Torchvision's segmentation models and detectors, by torchvision's own names."""

from drivetrain import ModelPlugin, hookimpl

_HOME = "drivetrain.plugins.models.torchvision"
_SEGMENTATION = {
    "lraspp_mobilenet_v3_large": "LR-ASPP on a MobileNetV3-Large",
    "deeplabv3_mobilenet_v3_large": "DeepLabV3 on a MobileNetV3-Large",
    "deeplabv3_resnet50": "DeepLabV3 on a ResNet-50",
    "deeplabv3_resnet101": "DeepLabV3 on a ResNet-101",
    "fcn_resnet50": "Fully convolutional network on a ResNet-50",
    "fcn_resnet101": "Fully convolutional network on a ResNet-101",
}
_DETECTION = {
    "fasterrcnn_resnet50_fpn": "Faster R-CNN on a ResNet-50 with feature pyramid",
    "fasterrcnn_resnet50_fpn_v2": "Faster R-CNN, torchvision's improved recipe",
    "fasterrcnn_mobilenet_v3_large_fpn": "Faster R-CNN on a MobileNetV3-Large with feature pyramid",
    "fasterrcnn_mobilenet_v3_large_320_fpn": "Faster R-CNN on a MobileNetV3-Large, fewer proposals",
    "retinanet_resnet50_fpn": "RetinaNet on a ResNet-50 with feature pyramid",
    "retinanet_resnet50_fpn_v2": "RetinaNet, torchvision's improved recipe",
    "fcos_resnet50_fpn": "FCOS (no anchors) on a ResNet-50 with feature pyramid",
    "ssdlite320_mobilenet_v3_large": "SSDlite on a MobileNetV3-Large, any input size",
}


@hookimpl
def drivetrain_models():
    segmentation = [
        ModelPlugin(name=name, about=about, tasks={"semantic_segmentation"}, factory=f"{_HOME}.segmentation:{name}",
                    config=f"{_HOME}.config:{'Segmentation' if name.startswith('lraspp') else 'AuxSegmentation'}Config")
        for name, about in _SEGMENTATION.items()
    ]  # fmt: skip
    detection = [
        ModelPlugin(name=name, about=about, tasks={"object_detection"}, factory=f"{_HOME}.detection:{name}",
                    config=f"{_HOME}.config:DetectionConfig")
        for name, about in _DETECTION.items()
    ]  # fmt: skip
    return segmentation + detection
