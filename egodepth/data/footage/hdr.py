"""High dynamic range to standard: ITU-R BT.2100 (PQ, HLG), BT.2390 (tone mapping), BT.2087 (primaries), BT.709.

Done in NumPy, because the filter that does it in FFmpeg (zscale) is not in every build.
"""

from functools import lru_cache

import av
import numpy as np

PQ, HLG = 16, 18
"""Transfer characteristics by their numbers in ITU-T H.273."""
BT2020 = 9

HDR_PEAK_NITS = 1000.0
SDR_WHITE_NITS = 203.0
"""Diffuse white in HDR by BT.2408; here the white of the standard picture."""

BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32
)
LUMA = np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)
STEPS = 4096


def is_hdr(frame: av.VideoFrame) -> bool:
    return int(frame.color_trc) in (PQ, HLG)


def standard_range(frame: av.VideoFrame) -> np.ndarray:
    """The (H, W, 3) uint8 RGB of a PQ or HLG frame, as it looks on a screen of standard range."""
    signal = frame.to_ndarray(format="rgb48le")
    nits = _light_of_code(int(frame.color_trc))[signal]
    if int(frame.color_trc) == HLG:
        # The screen's own share (OOTF) goes by luminance, so that hues stay.
        luminance = (nits / HDR_PEAK_NITS) @ LUMA
        nits = nits * np.maximum(luminance, 1e-6)[..., None] ** np.float32(0.2)
    peak = np.maximum(nits.max(axis=-1, keepdims=True), 1e-4)
    light = nits * (_tone_mapped(peak) / (peak * SDR_WHITE_NITS))
    if int(frame.color_primaries) == BT2020:
        light = light @ BT2020_TO_BT709.T
    codes = np.clip(light * (STEPS - 1) + 0.5, 0, STEPS - 1).astype(np.uint16)
    return _standard_codes()[codes]


def pq_nits(signal: np.ndarray) -> np.ndarray:
    """BT.2100, table 4: light of a PQ signal in [0, 1]."""
    root = np.maximum(signal, 0) ** (1 / 78.84375)
    return 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)


def pq_signal(nits: np.ndarray) -> np.ndarray:
    """BT.2100, table 4: the inverse of `pq_nits`."""
    power = (np.maximum(nits, 0) / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg_scene_light(signal: np.ndarray) -> np.ndarray:
    """BT.2100, table 5: scene light in [0, 1] of an HLG signal in [0, 1]."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


@lru_cache(maxsize=2)
def _light_of_code(transfer: int) -> np.ndarray:
    signal = np.arange(1 << 16) / ((1 << 16) - 1)
    light = pq_nits(signal) if transfer == PQ else hlg_scene_light(signal) * HDR_PEAK_NITS
    return light.astype(np.float32)


def _tone_mapped(nits: np.ndarray) -> np.ndarray:
    """BT.2390, 5.4.1: a spline above the knee brings 1000 nits to the standard white."""
    source_peak, target_peak = pq_signal(np.array([HDR_PEAK_NITS, SDR_WHITE_NITS]))
    largest = target_peak / source_peak
    knee = 1.5 * largest - 0.5
    signal = np.minimum(pq_signal(nits) / source_peak, 1)
    share = np.clip((signal - knee) / (1 - knee), 0, 1)
    cubed, squared = share**3, share**2
    spline = (
        (2 * cubed - 3 * squared + 1) * knee + (cubed - 2 * squared + share) * (1 - knee)
        + (3 * squared - 2 * cubed) * largest
    )  # fmt: skip
    return pq_nits(np.where(signal < knee, signal, spline) * source_peak).astype(np.float32)


@lru_cache(maxsize=1)
def _standard_codes() -> np.ndarray:
    """8-bit codes of linear light by the inverse of BT.1886, which screens of standard range show."""
    light = np.linspace(0, 1, STEPS)
    return np.round(255 * light ** (1 / 2.4)).astype(np.uint8)
