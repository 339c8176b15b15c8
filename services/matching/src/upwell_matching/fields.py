"""What a value about programmes looks like, by whatever door it comes in."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from upwell_matching.domain import programme
from upwell_matching.domain.eligibility import MOST_LEVELS

# One line: without control characters, and with something at both ends.
_LINE = r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$"

Name = Annotated[str, Field(min_length=1, max_length=programme.LONGEST_NAME, pattern=_LINE)]
UnitIds = Annotated[list[UUID], Field(min_length=1, max_length=programme.MOST_UNITS)]
TopicIds = Annotated[list[UUID], Field(max_length=programme.MOST_TOPICS)]
Gap = Annotated[int, Field(ge=1, le=programme.LARGEST_GAP)]
Levels = Annotated[int, Field(ge=0, le=MOST_LEVELS)]
Places = Annotated[int, Field(ge=1, le=programme.MOST_PLACES)]
Sessions = Annotated[int, Field(ge=1, le=programme.MOST_SESSIONS)]
DaysBetween = Annotated[int, Field(ge=1, le=programme.MOST_DAYS_BETWEEN)]
Minutes = Annotated[int, Field(ge=programme.SHORTEST_MINUTES, le=programme.LONGEST_MINUTES)]
ReplyDays = Annotated[int, Field(ge=programme.SHORTEST_REPLY, le=programme.LONGEST_REPLY)]
ReminderDays = Annotated[int, Field(ge=1, lt=programme.LONGEST_REPLY)]
