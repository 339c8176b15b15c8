"""When in the life of a pair somebody is asked."""

from enum import StrEnum


class Stage(StrEnum):
    """In the order in which they come; a pair may come to `after_session`, the pulse, many times."""

    START = "start"
    AFTER_SESSION = "after_session"
    MIDDLE = "middle"
    END = "end"
