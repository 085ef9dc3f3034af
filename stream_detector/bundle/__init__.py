"""The bundle on disk: network, scaler, threshold, and a manifest that vouches for them.

A bundle is a folder of exactly four files, or five where each key has a scale of its own. It is
written beside its place and renamed, so nobody sees half of one, and read without pickle, after
every file's sha256 was checked. Its version is a digest of the manifest, which names those sha256:
the same content always has the same version.
"""

from stream_detector.bundle.copies import Content, read_content, renamed, write_content
from stream_detector.bundle.folder import Bundle, BundleParts, read_bundle, write_bundle
from stream_detector.bundle.manifest import (
    THRESHOLD_MAX,
    Calibration,
    Facts,
    LeftOut,
    LeftOutKey,
    Manifest,
    SelfTest,
    Threshold,
    TrainingData,
    library_versions,
)
from stream_detector.bundle.target import check_target, other_bundle

__all__ = [
    "THRESHOLD_MAX",
    "Bundle",
    "BundleParts",
    "Calibration",
    "Content",
    "Facts",
    "LeftOut",
    "LeftOutKey",
    "Manifest",
    "SelfTest",
    "Threshold",
    "TrainingData",
    "check_target",
    "library_versions",
    "other_bundle",
    "read_bundle",
    "read_content",
    "renamed",
    "write_bundle",
    "write_content",
]
