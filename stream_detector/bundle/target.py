"""What stands where a bundle is to be written, and whether it may be replaced."""

import json
from pathlib import Path

from stream_detector.bundle.manifest import CONTENT, MANIFEST, MAYBE
from stream_detector.errors import ConfigError
from stream_detector.files import AnyPath

_ALL = frozenset((*CONTENT, *MAYBE, MANIFEST))

_MANIFEST_BYTES_MAX = 64 * 2**20
"""Far above any manifest; a larger file is not read."""


def check_target(out: AnyPath, recipe: str, *, overwrite: bool = False) -> None:
    """Refuse to write a bundle over anything that is not an older bundle of the same recipe.

    Parameters
    ----------
    out
        Folder of the new bundle.
    recipe
        Name of its recipe.
    overwrite
        Whether a bundle of another recipe may be replaced.

    Raises
    ------
    ConfigError
        If `out` is a file, a folder that holds anything else than a bundle's files, or the bundle
        of another recipe.
    """
    out = Path(out)
    if not out.exists() and not out.is_symlink():
        return
    others = [out.name]
    if out.is_dir() and not out.is_symlink():
        others = sorted(entry.name for entry in out.iterdir() if entry.name not in _ALL)
    if others:
        message = (
            f"{out} is there and is not a bundle: it has {', '.join(others[:3])}; "
            "choose another folder with --out, or move it away"
        )
        raise ConfigError(message)
    other = None if overwrite else other_bundle(out, recipe)
    if other is not None:
        message = (
            f"{out} holds {other}, which the bundle of {recipe} would replace; choose another "
            "folder with --out, or replace it with --overwrite"
        )
        raise ConfigError(message)


def other_bundle(out: AnyPath, recipe: str) -> str | None:
    """Return which bundle of another recipe a new one would replace, None where there is none.

    A bundle of the same recipe is an earlier training of it, and so no other.

    Parameters
    ----------
    out
        Folder of the new bundle.
    recipe
        Name of its recipe.
    """
    out = Path(out)
    manifest = out / MANIFEST
    try:
        names = {entry.name for entry in out.iterdir()} if out.is_dir() else set()
        if not names or names - _ALL:
            return None
        if not manifest.is_file() or manifest.stat().st_size > _MANIFEST_BYTES_MAX:
            return "a bundle without a manifest"
        name = json.loads(manifest.read_bytes())["name"]
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return "a bundle whose manifest cannot be read"
    return None if name == recipe else f"the bundle of {name}"
