"""Where a person stands, as far as matching must know it: told by the directory, numbered, and answered by rechecks.

The directory tells of presence on one channel, of place and leave on another, and there is no order between the two.
Each is kept apart, so that any interleaving ends in the same state. `revision` rises with every change; who decides on
a standing adds `KeepStanding` for the revision they looked up, and so is written only if it is still the one.
"""

from dataclasses import dataclass, replace
from datetime import date
from typing import assert_never
from uuid import UUID

from upwell_shared.decider import Decider, DomainError


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where somebody stands in an organisation."""

    organisation_id: UUID
    unit_id: UUID
    grade: int
    manager_id: UUID | None
    in_role_since: date


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingExpected:
    """Something was decided on nothing being known of this person, whom a reporting line names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingBegan:
    """The person works here."""

    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingEnded:
    """The person does not work here any more."""

    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceTaken:
    place: Place
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveBegan:
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveEnded:
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingErased:
    """The person is forgotten for good: whatever is told of them later is not listened to."""

    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsRechecked:
    """Every open pair and proposal that this revision concerns was looked at."""

    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsRecheckedInPart:
    """Those up to and including the pair `after` were looked at."""

    revision: int
    after: UUID


StandingEvent = (
    StandingExpected
    | StandingBegan
    | StandingEnded
    | PlaceTaken
    | LeaveBegan
    | LeaveEnded
    | StandingErased
    | PairsRechecked
    | PairsRecheckedInPart
)


@dataclass(frozen=True, slots=True)
class Unheard:
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Expected:
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """What each channel has told so far; `place` is None until the one that tells of it has spoken."""

    revision: int
    present: bool = False
    place: Place | None = None
    on_leave: bool = False
    rechecked: int = 0


@dataclass(frozen=True, slots=True)
class Erased:
    revision: int
    rechecked: int = 0


State = Unheard | Expected | Known | Erased


def evolve(state: State, event: StandingEvent) -> State:
    if isinstance(event, StandingExpected):
        return Expected()
    if isinstance(event, PairsRechecked):
        return replace(state, rechecked=event.revision) if isinstance(state, Known | Erased) else state
    if isinstance(event, PairsRecheckedInPart) or isinstance(state, Erased):
        return state
    known = replace(state if isinstance(state, Known) else Known(0), revision=event.revision)
    match event:
        case StandingBegan():
            return replace(known, present=True)
        case StandingEnded():
            return replace(known, present=False)
        case PlaceTaken(place=place):
            return replace(known, place=place)
        case LeaveBegan():
            return replace(known, on_leave=True)
        case LeaveEnded():
            return replace(known, on_leave=False)
        case StandingErased():
            return Erased(event.revision, known.rechecked)
        case _:
            assert_never(event)


class StandingChanged(DomainError):
    """Where one of these people stands has changed at this very moment: try again."""


class UnknownPerson(DomainError):
    """There is nobody of that id here at present."""


class PersonOnLeave(DomainError):
    """This person is on leave, and becomes part of a pair once they are back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginStanding:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class EndStanding:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class TakePlaceInOrganisation:
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginLeave:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class EndLeave:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseStanding:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepStanding:
    """Nothing has changed since that revision; 0 is that of somebody not heard of."""

    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecheckPairs:
    """Sent once the pairs of that revision were looked at: all, or up to `upto` where there are more.

    `after` is where the earlier part ended, None for the first.
    """

    revision: int
    after: UUID | None = None
    upto: UUID | None = None


StandingCommand = (
    BeginStanding
    | EndStanding
    | TakePlaceInOrganisation
    | BeginLeave
    | EndLeave
    | EraseStanding
    | KeepStanding
    | RecheckPairs
)


def decide(command: StandingCommand, state: State) -> list[StandingEvent]:
    match command:
        case KeepStanding():
            if command.revision != state.revision:
                raise StandingChanged
            # So that there is a stream, and with it a version this was decided on.
            return [StandingExpected()] if isinstance(state, Unheard) else []
        case RecheckPairs():
            return _recheck(command, state)
        case _:
            pass
    if isinstance(state, Erased):
        return []
    known = state if isinstance(state, Known) else Known(0)
    revision = known.revision + 1
    match command:
        case BeginStanding():
            return [] if known.present else [StandingBegan(revision=revision)]
        case EndStanding():
            return [StandingEnded(revision=revision)] if known.present else []
        case TakePlaceInOrganisation(place=place):
            return [] if known.place == place else [PlaceTaken(place=place, revision=revision)]
        case BeginLeave():
            return [] if known.on_leave else [LeaveBegan(revision=revision)]
        case EndLeave():
            return [LeaveEnded(revision=revision)] if known.on_leave else []
        case EraseStanding():
            return [StandingErased(revision=revision)]
        case _:
            assert_never(command)


def _recheck(command: RecheckPairs, state: State) -> list[StandingEvent]:
    """A later change has a recheck of its own, which looks at all of it again."""
    if not isinstance(state, Known | Erased) or command.revision != state.revision:
        return []
    if command.upto is not None:
        return [PairsRecheckedInPart(revision=command.revision, after=command.upto)]
    return [] if state.rechecked == command.revision else [PairsRechecked(revision=command.revision)]


standing: Decider[StandingCommand, State, StandingEvent] = Decider(Unheard(), decide, evolve)
