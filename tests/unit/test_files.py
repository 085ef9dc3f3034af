"""Foreign files: only regular ones of a limited size are read, and only TOML of a limited depth."""

import os
import socket
from pathlib import Path

import pytest

from stream_detector.cli.options import connection_settings
from stream_detector.errors import ConfigError
from stream_detector.files import (
    TOML_BYTES_MAX,
    TOML_DEPTH_MAX,
    UnusableFileError,
    parse_toml,
    read_regular,
    read_toml,
)
from stream_detector.recipes import load_recipe
from stream_detector.settings import DetectSettings, load_settings

READERS = [load_recipe, lambda path: load_settings(DetectSettings, path)]
each_reader = pytest.mark.parametrize("read", READERS, ids=["recipe", "settings"])


def test_a_file_of_the_largest_size_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(UnusableFileError, match="at most 4 bytes, received 5"):
        read_regular(path, 4)


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


def make_loop(path: Path) -> None:
    path.symlink_to(path)


def make_gigabytes(path: Path) -> None:
    path.touch()
    os.truncate(path, 3 * 1024**3)  # sparse: it takes no room


def link_to(target: str) -> object:
    return lambda path: path.symlink_to(target)


@each_reader
@pytest.mark.parametrize(
    "make",
    [
        make_fifo,
        make_socket,
        make_loop,
        Path.mkdir,
        link_to("/dev/zero"),
        link_to("/dev/null"),
        make_gigabytes,
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_text("a = " + "[" * 20_000),
        lambda path: path.write_text("a = " + "{a=" * 20_000),
        lambda path: path.write_text(".".join("a" * 20_000) + " = 1"),
        lambda path: path.write_text("[" + ".".join("a" * 20_000) + "]"),
        lambda path: path.write_text(".".join("a" * (TOML_BYTES_MAX // 2 - 2)) + "=1"),
        lambda path: path.write_text("a = " + "9" * 5_000),
        lambda path: path.write_text("a = 9223372036854775808"),
    ],
    ids=lambda make: getattr(make, "__name__", None),
)
def test_what_cannot_be_used_is_a_wrong_setting_and_not_waited_for(
    read: object, make: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.toml"
    make(path)  # type: ignore[operator]
    with pytest.raises(ConfigError, match=r"file\.toml cannot be read: ") as caught:
        read(path)  # type: ignore[operator]
    assert caught.value.exit_code == 2
    assert len(str(caught.value)) < 1_000


@each_reader
def test_a_path_with_a_null_character_is_a_wrong_setting(read: object) -> None:
    with pytest.raises(ConfigError, match="cannot be read: no usable path"):
        read(Path("a\0b"))  # type: ignore[operator]


def test_settings_of_every_command_are_read_within_the_limits(tmp_path: Path) -> None:
    path = tmp_path / "file.toml"
    make_fifo(path)
    with pytest.raises(ConfigError, match="regular file"):
        connection_settings(None, None, path)


def test_toml_as_deep_and_large_as_the_limits_is_read(tmp_path: Path) -> None:
    inner = "[" * (TOML_DEPTH_MAX - 1) + "1" + "]" * (TOML_DEPTH_MAX - 1)
    assert parse_toml(f"a = {inner}")
    with pytest.raises(ValueError, match="deeper than 32"):
        parse_toml(f"a = [{inner}]")
    for part in ("a", '"a b"', "'a.b'", "a \t"):
        assert parse_toml(".".join([part] * TOML_DEPTH_MAX) + " = 1")
        for key in (".", " . "):
            with pytest.raises(ValueError, match="deeper than 32"):
                parse_toml(key.join([part] * (TOML_DEPTH_MAX + 1)) + " = 1")
    assert parse_toml("a = [9223372036854775807, -9223372036854775807, true]")
    with pytest.raises(ValueError, match="64 bits"):
        parse_toml("a = [[-9223372036854775809]]")
    path = tmp_path / "file.toml"
    path.write_text("a = 1\n".ljust(TOML_BYTES_MAX, "#"))
    assert read_toml(path) == {"a": 1}


@pytest.mark.parametrize(
    "override",
    [
        ".".join(["window"] * 20_000) + "=1",
        "network.kernel_size." + ".".join("a" * 20_000) + "=1",
        "training.epochs=" + "[" * 20_000,
        "training.epochs=" + "9" * 5_000,
        "window.steps=" + "x" * 100_000,
        "window.steps=9223372036854775807",
        "window.features=262145",
        "window.stride=2147483648",
        "window.key_ttl_ms=1e300",
        "network.units=[" + "1," * 65 + "]",
        "network.units=[16385]",
        "threshold.n_sigma=1001",
        "name=" + "a" * 129,
        "alerting.severity.ab\x1b=1.0",
    ],
    ids=lambda text: text[:24],
)
def test_an_absurd_override_is_a_wrong_recipe(override: str) -> None:
    recipe = Path(__file__).parents[2] / "models" / "synthetic-ecg-dense.toml"
    with pytest.raises(ConfigError) as caught:
        load_recipe(recipe, [override])
    assert len(str(caught.value)) < 200_000
