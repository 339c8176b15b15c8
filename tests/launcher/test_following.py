"""Logs are handed on line by line, whole and once."""

from pathlib import Path

from upwell.following import Follower


def test_lines_are_handed_on_as_they_are_completed(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("before\n")
    seen: list[tuple[str, str]] = []
    follower = Follower({"a": old, "b": new}, lambda name, line: seen.append((name, line)))
    follower.look()
    assert seen == []

    with old.open("a") as file:
        file.write("one\ntw")
        file.flush()
        new.write_text("first\n")
        follower.look()
        file.write("o\n")
        file.flush()
        follower.look()
    follower.look()
    assert seen == [("a", "one"), ("b", "first"), ("a", "two")]


def test_a_log_that_was_begun_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("a long line of before\n")
    seen: list[str] = []
    follower = Follower({"a": log}, lambda _, line: seen.append(line))
    log.write_text("new\n")
    follower.look()
    assert seen == ["new"]
