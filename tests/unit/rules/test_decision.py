from wiresock_py.rules import Reason


def test_a_reason_names_its_line() -> None:
    assert str(Reason("AllowedApps = chrome", "wg0.conf", 12)) == "AllowedApps = chrome (wg0.conf:12)"
    assert str(Reason("nothing")) == "nothing"
