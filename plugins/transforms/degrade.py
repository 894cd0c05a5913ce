"""What optics, sensors and codecs do to a picture: blur, noise, compression. Labels stay as they are."""

from __future__ import annotations

import math

import cv2
import numpy as np
import simplejpeg

from drivetrain import CameraSample, Rng, Transform

from .config import BlurConfig, JpegConfig, NoiseConfig

_STRIP = 48  # rows of noise that are drawn


class Sometimes(Transform):
    """With probability ``p`` the picture becomes what `changed` makes of it."""

    p: float

    def pixels(self, sample: CameraSample, rng: Rng) -> CameraSample:
        return sample.replace(image=self.changed(sample, rng)) if rng.uniform() < self.p else sample

    def changed(self, sample: CameraSample, rng: Rng) -> np.ndarray:
        """uint8 [H, W, 3]."""
        raise NotImplementedError


class Blur(Sometimes):
    """Out of focus (a Gaussian) or moved while the shutter was open (a line)."""

    def __init__(self, config: BlurConfig):
        self.p, self.kinds, self.sigma, self.length = config.p, config.kinds, config.sigma, config.length

    def changed(self, sample: CameraSample, rng: Rng) -> np.ndarray:
        if self.kinds[rng.integer(0, len(self.kinds))] == "gaussian":
            return cv2.GaussianBlur(sample.image, (0, 0), rng.uniform(*self.sigma))
        kernel = line_kernel(rng.uniform(*self.length), rng.uniform(0, math.pi))
        return cv2.filter2D(sample.image, -1, kernel, borderType=cv2.BORDER_REPLICATE)


def line_kernel(length: float, angle: float) -> np.ndarray:
    """float32 [K, K], K odd, of sum 1: a line of ``length`` pixels through the middle, ``angle`` radians from x towards y."""
    reach = max(1, math.ceil(length / 2))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for t in np.linspace(-length / 2, length / 2, 4 * reach + 1):
        x, y = reach + t * math.cos(angle), reach + t * math.sin(angle)
        for column, row in ((math.floor(x), math.floor(y)), (math.ceil(x), math.ceil(y))):
            kernel[min(row, 2 * reach), min(column, 2 * reach)] += 1
    return kernel / kernel.sum()


class Noise(Sometimes):
    """Normal noise, each channel of each pixel its own."""

    def __init__(self, config: NoiseConfig):
        self.p, self.sigma = config.p, config.sigma

    def changed(self, sample: CameraSample, rng: Rng) -> np.ndarray:
        return with_noise(sample.image, rng.uniform(*self.sigma), rng)


def with_noise(image: np.ndarray, sigma: float, rng: Rng) -> np.ndarray:
    """uint8 like ``image``, clipped at both ends. Normal deviates are dear: those of a strip are used again further down,
    shifted at random."""
    height, width = image.shape[:2]
    cv2.setRNGSeed(rng.integer(0, 2**31))  # OpenCV keeps a generator for each thread
    strip = np.empty((_STRIP, 2 * width * 3), np.int16)
    cv2.randn(strip[:, : width * 3], np.zeros(1), np.array([sigma]))
    strip[:, width * 3 :] = strip[:, : width * 3]
    out = np.empty_like(image)
    for top in range(0, height, _STRIP):
        start, rows = 3 * rng.integer(0, width), slice(top, top + _STRIP)
        noise = np.ascontiguousarray(strip[: height - top, start : start + width * 3])
        cv2.add(image[rows], noise.reshape(-1, width, 3), dst=out[rows], dtype=cv2.CV_8U)
    return out


class Jpeg(Sometimes):
    """Compressed once more, colours at half the width and height, as cameras and recorders do."""

    def __init__(self, config: JpegConfig):
        self.p, self.quality = config.p, config.quality

    def changed(self, sample: CameraSample, rng: Rng) -> np.ndarray:
        quality = rng.integer(self.quality[0], self.quality[1] + 1)
        data = simplejpeg.encode_jpeg(np.ascontiguousarray(sample.image), quality, "RGB", "420")
        return simplejpeg.decode_jpeg(data, "RGB")
