"""Files of routes: what is read, and what is refused in which words."""

from pathlib import Path

import pytest

from stream_detector.errors import ConfigError
from stream_detector.outputs.routing.config import (
    AlertmanagerRoute,
    Secret,
    WebhookRoute,
    load_routes,
)

ISSUED = """
[[route]]
name = "pager"
sink = "alertmanager"
url = "http://127.0.0.1:9093"
match = { severity = ["warning", "critical"], key = "pump-*" }
repeat_interval_s = 3600
"""
HOOK = '[[route]]\nname = "hook"\nsink = "webhook"\nurl = "https://hooks.example/a"\n'


def refusal(tmp_path: Path, text: str) -> str:
    path = tmp_path / "routes.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as found:
        load_routes(path)
    return str(found.value)


def test_a_file_of_routes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "routes.toml"
    quiet = '[[calendar]]\nname = "nights"\ndates = ["2026-12-25"]\n'
    path.write_text(ISSUED + HOOK + 'quiet = ["nights"]\ngroup_window_s = 5\n' + quiet)
    file = load_routes(path)
    pager, hook = file.route
    assert isinstance(pager, AlertmanagerRoute)
    assert (pager.repeat_interval_s, pager.match.key) == (3600.0, ["pump-*"])
    assert (pager.group, file.calendars_of(pager)) == ("stream-detector-route-pager", [])
    assert isinstance(hook, WebhookRoute)
    assert (hook.group_window_s, hook.repeat_interval_s, hook.start_at) == (5.0, None, "earliest")
    assert [each.name for each in file.calendars_of(hook)] == ["nights"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "route: Field required"),
        ("route = []", "at least 1 item"),
        ("route = 3", "route: Input should be a valid list"),
        ("[[route", "cannot be read"),
        (HOOK + "colour = 1\n", "route hook: colour: unknown key"),
        (HOOK.replace("webhook", "fax"), "'alertmanager', 'webhook', 'apprise'"),
        (HOOK.replace("https", "ftp"), "route hook: url: Input should be http://HOST"),
        (HOOK.replace("hooks.", "me:pass@hooks."), "route hook: url: Input should have no login"),
        (HOOK.replace('"hook"', '"a b"'), "route a b: name:"),
        (HOOK + HOOK, "route hook: expected each name once"),
        (HOOK + 'quiet = ["x"]\n', "route hook: quiet names 'x', and there is no such calendar"),
        (HOOK + "repeat_interval_s = 0\n", "route hook: repeat_interval_s:"),
        (HOOK + "rate_per_minute = 0\n", "route hook: rate_per_minute:"),
        (HOOK + "match = { severity = [] }\n", "route hook: match.severity:"),
        (ISSUED + "group_window_s = 3\n", "route pager: group_window_s: unknown key"),
        (ISSUED + 'labels = { "a-b" = "c" }\n', "route pager: labels.a-b"),
        ('[[route]]\nname = "m"\nsink = "apprise"\n', "one of url, url_file and url_env"),
        (HOOK + '[[calendar]]\nname = "n"\ntime_zone = "Mars"\n', "calendar n: time_zone:"),
        (HOOK + '[[calendar]]\nname = "n"\n', "calendar n: Input should have times in weekly"),
        (
            HOOK + '[[calendar]]\nname = "n"\ndates = ["2026-12-25"]\n',
            "calendar n: expected a route that names it in quiet",
        ),
        (
            HOOK + '[[calendar]]\nname = "n"\nweekly = [{ from = "2:00", until = "03:00" }]\n',
            "calendar n: weekly.0.from: Input should be a time such as 02:00, at most 24:00",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(tmp_path, text)


def test_every_problem_is_said_at_once_and_no_value(tmp_path: Path) -> None:
    found = refusal(tmp_path, HOOK.replace("hooks.", "u:hunter2@hooks.") + "a = 1\nb = 2\n")
    assert "url" in found
    assert "a: unknown key" in found
    assert "b: unknown key" in found
    assert "hunter2" not in found


@pytest.mark.parametrize(("n_unknown", "rest"), [(20, ""), (21, "; and 1 more")])
def test_of_many_problems_the_rest_is_counted(tmp_path: Path, n_unknown: int, rest: str) -> None:
    found = refusal(tmp_path, HOOK + "".join(f"a{number} = 1\n" for number in range(n_unknown)))
    assert found.endswith(f"a19: unknown key{rest}")


def test_a_secret_is_read_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    path.write_text("hunter2\n")
    monkeypatch.setenv("HOOK_SECRET", "hunter3")
    assert Secret("secret", str(path), None).read("hook") == "hunter2"
    assert Secret("secret", None, "HOOK_SECRET").read("hook") == "hunter3"
    assert Secret("secret", None, None).read("hook") is None


def test_a_secret_that_is_missing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOK_SECRET", raising=False)
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.write_text("\n")
    binary.write_bytes(b"\xff")
    cases: list[tuple[str | None, str | None, str]] = [
        (str(tmp_path / "none"), None, "cannot be read: No such file"),
        (str(tmp_path), None, "cannot be read"),
        (str(empty), None, "expected a text, received none"),
        (str(binary), None, "cannot be read: UnicodeDecodeError"),
        (None, "HOOK_SECRET", "the environment variable HOOK_SECRET: expected a text"),
        (str(empty), "HOOK_SECRET", "expected one of them, received both"),
    ]
    for file, variable, said in cases:
        with pytest.raises(ConfigError, match=said):
            Secret("secret", file, variable).read("hook")
