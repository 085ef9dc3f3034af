"""A bundle is written over nothing but an older one of its recipe, unless that is wanted."""

import json
import os
from pathlib import Path

import pytest
from halving_bundle import make_bundle  # tests/support

from stream_detector.bundle import (
    BundleParts,
    check_target,
    other_bundle,
    read_bundle,
    target,
    write_bundle,
)
from stream_detector.bundle.manifest import CONTENT, MANIFEST, MAYBE, Facts
from stream_detector.errors import ConfigError


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "bundle", name="pumps")
    return tmp_path / "bundle"


def refusal(out: Path, recipe: str) -> str:
    with pytest.raises(ConfigError) as error:
        check_target(out, recipe)
    return str(error.value)


def test_the_same_recipe_may_be_trained_again(bundle: Path) -> None:
    check_target(bundle, "pumps")
    assert other_bundle(bundle, "pumps") is None


def test_another_recipe_s_bundle_is_replaced_only_where_that_is_wanted(bundle: Path) -> None:
    message = refusal(bundle, "fans")
    assert f"{bundle} holds the bundle of pumps, which the bundle of fans would replace" in message
    assert "--overwrite" in message
    check_target(bundle, "fans", overwrite=True)


def test_writing_refuses_as_well(bundle: Path) -> None:
    opened = read_bundle(bundle)
    values = opened.manifest.model_dump(include=set(Facts.model_fields)) | {"name": "fans"}
    facts = Facts(**values | {"recipe": opened.manifest.recipe})
    with pytest.raises(ConfigError, match="--overwrite"):
        write_bundle(bundle, facts, BundleParts(b"", b"", opened.scaler))
    assert read_bundle(bundle) == opened
    write_bundle(bundle, facts, BundleParts(b"", b"", opened.scaler), overwrite=True)
    assert read_bundle(bundle).manifest.name == "fans"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"name": 1}', b"1" * 5_000]
)
def test_a_manifest_that_cannot_be_read_is_another_bundle_s(bundle: Path, content: bytes) -> None:
    (bundle / MANIFEST).write_bytes(content)
    assert "--overwrite" in refusal(bundle, "pumps")
    check_target(bundle, "pumps", overwrite=True)


def test_a_manifest_is_read_up_to_a_size(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n_bytes = (bundle / MANIFEST).stat().st_size
    monkeypatch.setattr(target, "_MANIFEST_BYTES_MAX", n_bytes)
    assert other_bundle(bundle, "pumps") is None
    monkeypatch.setattr(target, "_MANIFEST_BYTES_MAX", n_bytes - 1)
    assert other_bundle(bundle, "pumps") == "a bundle without a manifest"


def test_files_without_a_manifest_are_another_bundle_s(bundle: Path) -> None:
    (bundle / MANIFEST).unlink()
    assert "holds a bundle without a manifest" in refusal(bundle, "pumps")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_manifest_that_is_a_pipe_is_not_waited_for(bundle: Path) -> None:
    (bundle / MANIFEST).unlink()
    os.mkfifo(bundle / MANIFEST)
    assert "holds a bundle without a manifest" in refusal(bundle, "pumps")


def test_an_older_format_of_the_same_recipe_may_be_replaced(bundle: Path) -> None:
    values = json.loads((bundle / MANIFEST).read_bytes()) | {"format_version": 1}
    (bundle / MANIFEST).write_text(json.dumps(values))
    check_target(bundle, "pumps")


def test_nothing_and_an_empty_folder_are_free(tmp_path: Path) -> None:
    for out in (tmp_path, tmp_path / "absent"):
        check_target(out, "pumps")
        assert other_bundle(out, "pumps") is None


def test_what_is_no_bundle_is_never_replaced(bundle: Path, tmp_path: Path) -> None:
    (bundle / "thesis.txt").write_text("years of work")
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    for out in (bundle, bundle / "thesis.txt", bundle / CONTENT[0], tmp_path / "link"):
        assert other_bundle(out, "fans") is None
        with pytest.raises(ConfigError, match="is not a bundle"):
            check_target(out, "pumps", overwrite=True)


@pytest.mark.parametrize("name", MAYBE)
def test_a_bundle_may_have_files_that_its_recipe_wants(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"arrays")
    check_target(bundle, "pumps")
    assert "holds the bundle of pumps" in refusal(bundle, "fans")
