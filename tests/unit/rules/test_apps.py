import os

import pytest

from tests.support.configs import config
from wiresock_py.errors import ConfigError
from wiresock_py.flow import SYSTEM, App
from wiresock_py.rules.apps import AppCondition, AppList, AppLists, AppSet, Entry
from wiresock_py.rules.conditions import Asker
from wiresock_py.rules.decision import Reason


def app(path: str, service: str = "") -> App:
    return App(1, 1.0, path, service)


def asker(path: str, *ancestors: str) -> Asker:
    return Asker(app(path), tuple(app(ancestor) for ancestor in ancestors))


def same(path: str) -> str:
    return path


def matches(entry: str, path: str, service: str = "") -> bool:
    return AppList([Entry(entry, Reason(""))], same).match(app(path, service)) is not None


@pytest.mark.parametrize(
    "path",
    [
        "/opt/google/chrome/chrome",
        "/opt/google/chrome/Chrome",
        "/snap/bin/chrome.bin",
        "C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe",
        "C:\\x\\CHROME.EXE",
    ],
)
def test_a_name_matches_the_whole_file_name_or_its_stem_in_any_case(path: str) -> None:
    assert matches("chrome", path)
    assert matches("CHROME", path)


@pytest.mark.parametrize(
    "path",
    ["/usr/bin/chromedriver", "/usr/bin/google-chrome", "/chrome/x", "/usr/bin/chrome.real.bin", "C:\\chrome\\x.exe"],
)
def test_a_name_never_matches_a_part_of_a_name_or_a_folder(path: str) -> None:
    assert not matches("chrome", path)


def test_a_name_with_its_suffix_matches_with_that_suffix_only() -> None:
    assert matches("chrome.exe", "C:\\x\\chrome.exe")
    assert not matches("chrome.exe", "/usr/bin/chrome")
    assert matches("python3.11", "/usr/bin/python3.11")


def test_a_path_matches_that_file_and_everything_below_that_folder() -> None:
    assert matches("/opt/google", "/opt/google/chrome/chrome")
    assert matches("/opt/google/chrome/chrome", "/opt/google/chrome/chrome")
    assert not matches("/opt/google", "/opt/google-beta/chrome")
    assert not matches("/opt/google", "/mnt/opt/google/chrome")


def test_a_path_with_a_slash_at_its_end_is_a_folder() -> None:
    assert matches("/opt/app/", "/opt/app/bin/x")
    assert not matches("/opt/app/", "/opt/app")
    assert matches("C:\\Games\\", "C:\\Games\\x.exe")


def test_case_counts_in_the_paths_of_posix_and_not_in_those_of_windows() -> None:
    assert not matches("/opt/Google", "/opt/google/chrome")
    assert matches("c:/program files/GOOGLE", "C:\\Program Files\\Google\\Chrome\\chrome.exe")
    assert matches("\\\\SERVER\\share", "\\\\server\\share\\x.exe")


def test_folders_without_a_root_match_anywhere_in_whole_components() -> None:
    assert matches("steamapps/common", "/home/me/.steam/steamapps/common/game/bin")
    assert matches("steamapps\\common", "D:\\Steam\\SteamApps\\Common\\game.exe")
    assert not matches("apps/common", "/home/me/steamapps/common/game")
    assert not matches("bin/app/", "/usr/bin/app")
    assert matches("bin/app", "/usr/bin/app")


def test_links_are_resolved_when_the_list_is_made() -> None:
    root = "" if os.name == "posix" else "C:"
    links = {f"{root}/usr/bin/chromium": f"{root}/usr/lib/chromium/chromium"}
    entries = AppList([Entry(f"{root}/usr/bin/chromium", Reason(""))], lambda path: links.get(path, path))
    assert entries.match(app(f"{root}/usr/lib/chromium/chromium"))
    assert entries.match(app(f"{root}/usr/bin/chromium"))
    assert not entries.match(app(f"{root}/usr/lib/chromium/crashpad"))


def test_only_paths_of_this_system_with_a_root_are_resolved() -> None:
    asked: list[str] = []

    def resolve(path: str) -> str:
        asked.append(path)
        return path

    entries = ["chrome", "a/b", "/opt/x", "C:\\x"]
    AppList([Entry(entry, Reason("")) for entry in entries], resolve)
    assert len(asked) == 1


def test_a_service_matches_by_its_name() -> None:
    assert matches("DNSCACHE", "C:\\Windows\\System32\\svchost.exe", "Dnscache")
    assert not matches("DNSCACHE", "C:\\Windows\\System32\\svchost.exe", "CryptSvc")


def test_traffic_that_nobody_owns_is_system() -> None:
    assert AppList([Entry("System", Reason(""))], same).match(SYSTEM)
    assert not AppList([Entry("chrome", Reason("")), Entry("/usr", Reason(""))], same).match(SYSTEM)


@pytest.mark.parametrize(
    ("allowed", "disallowed", "name", "tunnel", "reason"),
    [
        ("", "", "any", True, "no app list: every app (wg0.conf:4)"),
        ("a", "", "a", True, "AllowedApps = a (wg0.conf:6)"),
        ("a", "", "b", False, "not in AllowedApps (wg0.conf:6)"),
        ("", "a", "a", False, "DisallowedApps = a (wg0.conf:6)"),
        ("", "a", "b", True, "not in DisallowedApps (wg0.conf:6)"),
        ("a", "b", "a", True, "AllowedApps = a (wg0.conf:6)"),
        ("a", "b", "b", False, "DisallowedApps = b (wg0.conf:7)"),
        ("a", "b", "c", False, "not in AllowedApps (wg0.conf:6)"),
        ("a", "a", "a", True, "AllowedApps = a (wg0.conf:6)"),
    ],
)
def test_the_decision_table(allowed: str, disallowed: str, name: str, tunnel: bool, reason: str) -> None:
    lines = [f"AllowedApps = {allowed}"] * bool(allowed) + [f"DisallowedApps = {disallowed}"] * bool(disallowed)
    given = config("\n".join(lines))
    lists = AppLists(given, given.peers[0], {}, same)
    verdict = lists.verdict(asker(f"/usr/bin/{name}"))
    assert (verdict.holds, str(verdict.reason)) == (tunnel, reason)
    assert lists.everyone == (not lines)


def test_a_group_stands_for_its_entries() -> None:
    given = config("AllowedApps = ssh, @web")
    lists = AppLists(given, given.peers[0], {"web": ("chrome", "/opt/firefox/")}, same)
    assert lists.verdict(asker("/opt/firefox/firefox-bin")).holds
    assert lists.verdict(asker("/usr/bin/ssh")).holds
    verdict = lists.verdict(asker("/usr/bin/chrome"))
    assert str(verdict.reason) == "AllowedApps = @web, which holds chrome (wg0.conf:6)"
    assert not lists.verdict(asker("/usr/bin/web")).holds


def test_an_unknown_group_is_an_error_at_its_place_with_the_nearest() -> None:
    given = config("AllowedApps = ssh, @browser")
    with pytest.raises(ConfigError) as caught:
        AppLists(given, given.peers[0], {"browsers": ("chrome",)}, same)
    assert str(caught.value).startswith("wg0.conf:6:20: AllowedApps: found '@browser'")
    assert caught.value.remedy == "did you mean browsers?"


def test_an_entry_that_may_be_a_key_is_not_told() -> None:
    entry = "/x/Xq3Zr8LmW0aPv5TyNb7KdE2s"
    given = config(f"AllowedApps = {entry}")
    verdict = AppLists(given, given.peers[0], {}, same).verdict(asker(entry))
    assert verdict.holds
    assert "Xq3Zr8" not in str(verdict.reason)


def test_a_tree_entry_means_the_program_and_all_that_it_started() -> None:
    given = config("AllowedAppTrees = steam\nDisallowedApps = helper")
    lists = AppLists(given, given.peers[0], {}, same)
    assert lists.has_trees
    assert lists.verdict(asker("/usr/bin/steam")).holds
    started = lists.verdict(asker("/games/x/game", "/usr/bin/bash", "/usr/bin/steam", "/sbin/init"))
    assert (started.holds, str(started.reason)) == (True, "AllowedAppTrees = steam, which started game (wg0.conf:6)")
    for path, ancestors in (("/games/x/game", ("/usr/bin/bash",)), ("/usr/bin/steamcmd", ()), ("/opt/helper", ())):
        assert not lists.verdict(asker(path, *ancestors)).holds
    assert str(lists.verdict(asker("/x/y")).reason) == "not in AllowedAppTrees (wg0.conf:6)"


def test_an_entry_of_a_plain_list_does_not_mean_what_it_started() -> None:
    given = config("DisallowedApps = steam")
    lists = AppLists(given, given.peers[0], {}, same)
    assert not lists.has_trees
    assert lists.verdict(asker("/games/x/game", "/usr/bin/steam")).holds


def test_a_disallowed_tree_is_direct_but_for_what_is_allowed() -> None:
    given = config("DisallowedAppTrees = bash\nAllowedApps = curl")
    lists = AppLists(given, given.peers[0], {}, same)
    assert lists.verdict(asker("/usr/bin/curl", "/bin/bash")).holds
    assert str(lists.verdict(asker("/usr/bin/wget", "/bin/bash")).reason).startswith("DisallowedAppTrees = bash")


def test_a_rules_apps_are_met_or_missed() -> None:
    apps = AppSet([Entry("a", Reason("apps: a"))], [], same)
    condition = AppCondition(apps, Reason("not in apps"), everyone=False)
    assert condition.verdict(asker("/x/a")) == (True, Reason("apps: a"))
    assert condition.verdict(asker("/x/b")) == (False, Reason("not in apps"))
