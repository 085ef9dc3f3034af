"""Bundles as bytes: to keep one in memory, and to write it somewhere else."""

import json
from collections.abc import Mapping
from pathlib import Path

from stream_detector.bundle.folder import BYTES_MAX, Bundle, place, read_bundle
from stream_detector.bundle.manifest import MANIFEST, digest, dump_manifest
from stream_detector.bundle.target import check_target
from stream_detector.errors import BundleError
from stream_detector.files import AnyPath, read_regular

Content = Mapping[str, bytes]
"""The files of a bundle by name, the manifest included."""


def read_content(bundle: Bundle) -> dict[str, bytes]:
    """Return the files of a bundle.

    Raises
    ------
    BundleError
        If one cannot be read.
    """
    names = (MANIFEST, *bundle.manifest.files)
    try:
        return {name: read_regular(bundle.path / name, BYTES_MAX[name]) for name in names}
    except OSError as error:
        message = f"bundle {bundle.path} cannot be read: {error}; check that this user may read it"
        raise BundleError(message) from None


def write_content(out: AnyPath, content: Content, *, overwrite: bool = False) -> Bundle:
    """Write the files of a bundle to a folder.

    Parameters
    ----------
    out
        Its folder; the parents are made.
    content
        From `read_content`.
    overwrite
        Replace a bundle of another recipe.

    Returns
    -------
    The bundle as read back and checked.

    Raises
    ------
    ConfigError
        If `out` is there and is not a bundle, or that of another recipe.
    BundleError
        If it cannot be written.
    """
    out = Path(out)
    check_target(out, json.loads(content[MANIFEST])["name"], overwrite=overwrite)
    try:
        place(out, content)
    except OSError as error:
        message = f"bundle {out} cannot be written: {error}; choose another folder"
        raise BundleError(message) from None
    return read_bundle(out)


def renamed(content: Content, name: str) -> dict[str, bytes]:
    """Return the files of the same bundle under another name, which gives it another version."""
    values = json.loads(content[MANIFEST])
    del values["version"]
    values |= {"name": name, "recipe": values["recipe"] | {"name": name}}
    values = {"format_version": values["format_version"], "version": digest(values)} | values
    return {**content, MANIFEST: dump_manifest(values)}
