"""Which pictures look alike: candidates by a perceptual hash, confirmed on thumbnails.

The hash is the difference hash of 8 x 8 comparisons of neighbours on a 9 x 8 grey thumbnail (N. Krawetz, "Kind of Like
That", 2013). Pairs that differ in at most r bits are found exactly and without comparing all with all by cutting hashes into
r + 1 bands, of which two such hashes share one at least (multi-index hashing; Norouzi, Punjani, Fleet, CVPR 2012).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import cv2
import numpy as np

from drivetrain import Place, Sight

from .config import SimilarityConfig
from .exact_duplicates import digest

_BITS = 64
_BLOCK = 2048


def fingerprint(sight: Sight) -> tuple[int, bytes, bytes]:
    """The 64-bit hash, the thumbnail of 16 x 16 grey levels, the digest of the image's bytes."""
    row = cv2.resize(sight.gray, (9, 8), interpolation=cv2.INTER_AREA).astype(int)
    bits = np.packbits(row[:, 1:] > row[:, :-1])
    thumbnail = cv2.resize(sight.gray, (16, 16), interpolation=cv2.INTER_AREA)
    return int.from_bytes(bits.tobytes(), "big"), thumbnail.tobytes(), digest(sight)


class Similar:
    """Fingerprints of pictures, 8 + 256 + 16 bytes and a place each, and the pairs among them that look alike."""

    def __init__(self, config: SimilarityConfig):
        self._config = config
        self.places: list[Place] = []
        self._hashes: list[int] = []
        self._thumbnails: list[bytes] = []
        self._digests: list[bytes] = []

    def add(self, place: Place, measured: tuple[int, bytes, bytes]) -> None:
        self.places.append(place)
        self._hashes.append(measured[0])
        self._thumbnails.append(measured[1])
        self._digests.append(measured[2])

    def same_bytes(self, a: int, b: int) -> bool:
        return self._digests[a] == self._digests[b]

    def pairs(self) -> Iterator[tuple[int, int, float]]:
        """(a, b, mean difference in grey levels), a < b, of pictures that look alike."""
        thumbnails = np.frombuffer(b"".join(self._thumbnails), np.uint8).reshape(len(self.places), -1).astype(np.int16)
        for a, b in candidates(np.array(self._hashes, np.uint64), self._config.bits):
            difference = np.abs(thumbnails[a] - thumbnails[b]).mean(1)
            for place in np.flatnonzero(difference <= self._config.difference):
                yield int(a[place]), int(b[place]), float(difference[place])


def candidates(hashes: np.ndarray, bits: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of (a, b), a < b, each pair once: ``hashes`` uint64 [N] that differ in at most ``bits`` bits."""
    cuts = np.linspace(0, _BITS, bits + 2).astype(int)
    bands = [_band(hashes, low, high) for low, high in pairwise(cuts)]
    for number, band in enumerate(bands):
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order], prepend=band[order][:1] + np.uint64(1)))
        for group in np.split(order, starts[1:]) if len(order) else ():
            for low in range(0, len(group) if len(group) > 1 else 0, _BLOCK):
                a, b = np.meshgrid(group[low : low + _BLOCK], group, indexing="ij")
                close = (a < b) & (_distance(hashes[a], hashes[b]) <= bits)
                for earlier in bands[:number]:  # a pair is told in the first band that it shares
                    close &= earlier[a] != earlier[b]
                if close.any():
                    yield a[close], b[close]


def _band(hashes: np.ndarray, low: int, high: int) -> np.ndarray:
    return (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Bits that differ (Hacker's Delight, 5-1)."""
    x = a ^ b
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    with np.errstate(over="ignore"):
        return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)
