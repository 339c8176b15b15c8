"""Who may read an answer: the author says so for each, and may say otherwise later."""

from collections.abc import Collection
from enum import StrEnum
from typing import Final
from uuid import UUID


class Visibility(StrEnum):
    """Each lets in all that the one before it does."""

    ME = "me"
    """The author alone."""
    PAIR = "pair"
    """And the other member of the pair."""
    PROGRAMME_TEAM = "programme_team"
    """And the team of the pair's programme."""
    QUOTABLE = "quotable"
    """The same readers; the team may quote it."""


class Reader(StrEnum):
    """Who somebody is to an answer."""

    AUTHOR = "author"
    OTHER_MEMBER = "other_member"
    PROGRAMME_TEAM = "programme_team"
    OUTSIDER = "outsider"


_READERS: Final = {
    Visibility.ME: frozenset({Reader.AUTHOR}),
    Visibility.PAIR: frozenset({Reader.AUTHOR, Reader.OTHER_MEMBER}),
    Visibility.PROGRAMME_TEAM: frozenset({Reader.AUTHOR, Reader.OTHER_MEMBER, Reader.PROGRAMME_TEAM}),
    Visibility.QUOTABLE: frozenset({Reader.AUTHOR, Reader.OTHER_MEMBER, Reader.PROGRAMME_TEAM}),
}


def reader_of(person: UUID, author: UUID, members: Collection[UUID], *, in_team: bool) -> Reader:
    """Who `person` is to what `author` wrote in a pair. A member who is in the team, too, reads as a member."""
    if person == author:
        return Reader.AUTHOR
    if person in members:
        return Reader.OTHER_MEMBER
    return Reader.PROGRAMME_TEAM if in_team else Reader.OUTSIDER


def may_read(reader: Reader, visibility: Visibility) -> bool:
    """Whether this reader may know that there is such an answer, and what it says."""
    return reader in _READERS[visibility]
