from wiresock_py.rules.names import LONGEST, MAX_NAMES, MAX_NAMES_PER_ADDRESS, SHORTEST, Known, NameTable

ADDRESS, OTHER = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])


def every(_: str) -> bool:
    return True


def test_an_address_is_known_by_every_name_that_led_to_it() -> None:
    names = NameTable(every)
    names.learn(["www.a", "cdn.b"], [ADDRESS, OTHER], 600, 0.0)
    names.learn(["c"], [ADDRESS], 900, 0.0)
    assert names.of(ADDRESS, 1.0) == ("c", "www.a", "cdn.b")
    assert names.of(OTHER, 1.0) == ("www.a", "cdn.b")
    assert names.of(bytes(4), 1.0) == ()


def test_a_name_is_kept_for_its_time_to_live_within_bounds() -> None:
    names = NameTable(every)
    for name, ttl in (("short", 1.0), ("plain", 3600.0), ("long", 1e9)):
        names.learn([name], [ADDRESS], ttl, 0.0)
    assert set(names.of(ADDRESS, SHORTEST - 1)) == {"short", "plain", "long"}
    assert set(names.of(ADDRESS, SHORTEST + 1)) == {"plain", "long"}
    assert set(names.of(ADDRESS, 3601.0)) == {"long"}
    assert names.of(ADDRESS, LONGEST + 1) == ()


def test_a_shorter_answer_does_not_end_a_longer_one() -> None:
    names = NameTable(every)
    names.learn(["a"], [ADDRESS], 3600, 0.0)
    names.learn(["a"], [ADDRESS], 1, 0.0)
    assert names.of(ADDRESS, 3599.0) == ("a",)
    assert len(names) == 1


def test_only_names_that_rules_mention_are_kept() -> None:
    names = NameTable(lambda name: name.endswith(".a"))
    names.learn(["x.a", "y.b"], [ADDRESS], 600, 0.0)
    names.learn(["z.b"], [OTHER], 600, 0.0)
    assert names.of(ADDRESS, 1.0) == ("x.a",)
    assert len(names) == 1


def test_the_table_is_bounded_and_what_lapses_next_goes_first() -> None:
    names = NameTable(every)
    names.learn(["last"], [bytes(4)], 5000, 0.0)
    for number in range(1, MAX_NAMES + 100):
        names.learn([f"n{number}"], [number.to_bytes(4, "big")], 400 + number / 1000, 0.0)
    assert MAX_NAMES * 0.8 < len(names) <= MAX_NAMES
    assert names.of(bytes(4), 1.0) == ("last",)
    assert names.of((1).to_bytes(4, "big"), 1.0) == ()
    assert names.of((MAX_NAMES + 99).to_bytes(4, "big"), 1.0) == (f"n{MAX_NAMES + 99}",)


def test_what_is_new_is_told_and_known_to_whom_it_was_told() -> None:
    names, other = NameTable(every), NameTable(lambda name: name != "b")
    told = names.learn(["a", "b"], [ADDRESS], 600, 0.0)
    assert [(known.name, known.until) for known in told] == [("a", 600.0), ("b", 600.0)]
    assert names.learn(["a"], [ADDRESS], 600, 10.0) == []
    assert [known.until for known in names.learn(["a"], [ADDRESS], 600, 200.0)] == [800.0]
    other.remember(told, 1.0)
    assert other.of(ADDRESS, 2.0) == ("a",)
    late = NameTable(every)
    late.remember(told, 601.0)
    assert len(late) == 0
    assert [known.name for known in names.known(700.0)] == ["a"]


def test_what_is_remembered_is_bounded_too() -> None:
    names = NameTable(every)
    names.remember((Known(ADDRESS.hex(), "a", 1e12),), 0.0)
    assert names.of(ADDRESS, LONGEST + 1) == ()


def test_one_address_has_a_bounded_number_of_names() -> None:
    names = NameTable(every)
    names.learn([f"n{number}" for number in range(1000)], [ADDRESS], 600, 0.0)
    assert len(names.of(ADDRESS, 1.0)) == MAX_NAMES_PER_ADDRESS
