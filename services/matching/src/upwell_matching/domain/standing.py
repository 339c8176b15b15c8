"""Where a person stands, as far as matching must know it: told by the directory, numbered, and answered by rechecks.

The directory tells of presence on one channel, of place and leave on another, and there is no order between the two.
Each is kept apart, so that any interleaving ends in the same state. `revision` rises with every change; who decides on
a standing adds `KeepStanding` for the revision they looked up, and so is written only if it is still the one. A change
that something may have been decided on before has its pairs rechecked; most of an import has not.
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
    """Something was decided on it not being known where this person stands, whom a reporting line names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingBegan:
    """The person works here."""

    revision: int
    rechecks: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingEnded:
    """The person does not work here any more."""

    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceTaken:
    place: Place
    revision: int
    rechecks: bool


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
class Known:
    """What each channel has told so far; `place` is None until the one that tells of it has spoken.

    `expected`: something was decided before that. `due` is the latest revision whose pairs are to be rechecked, and
    `rechecked` the latest for which that is done.
    """

    revision: int = 0
    present: bool = False
    place: Place | None = None
    on_leave: bool = False
    expected: bool = False
    due: int = 0
    rechecked: int = 0


@dataclass(frozen=True, slots=True)
class Erased:
    revision: int
    due: int
    rechecked: int


State = Known | Erased
"""Somebody not heard of is known with revision 0."""


def evolve(state: State, event: StandingEvent) -> State:
    if isinstance(event, PairsRechecked):
        return replace(state, rechecked=event.revision)
    if isinstance(event, PairsRecheckedInPart) or isinstance(state, Erased):
        return state
    if isinstance(event, StandingExpected):
        return replace(state, expected=True)
    rechecks = not isinstance(event, StandingBegan | PlaceTaken) or event.rechecks
    known = replace(state, revision=event.revision, due=event.revision if rechecks else state.due)
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
            return Erased(known.revision, known.due, known.rechecked)
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
    """Sent once the pairs which that revision concerns were looked at: all, or up to `upto` where there are more.

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
            return _keep(command, state)
        case RecheckPairs():
            return _recheck(command, state)
        case _:
            pass
    if isinstance(state, Erased):
        return []
    revision = state.revision + 1
    match command:
        case BeginStanding():
            # Of whoever is here for the first time there is no pair yet.
            began = StandingBegan(revision=revision, rechecks=state.due > 0)
            return [] if state.present else [began]
        case EndStanding():
            return [StandingEnded(revision=revision)] if state.present else []
        case TakePlaceInOrganisation(place=place):
            rechecks = state.place is not None or state.expected
            taken = PlaceTaken(place=place, revision=revision, rechecks=rechecks)
            return [] if state.place == place else [taken]
        case BeginLeave():
            return [] if state.on_leave else [LeaveBegan(revision=revision)]
        case EndLeave():
            return [LeaveEnded(revision=revision)] if state.on_leave else []
        case EraseStanding():
            return [StandingErased(revision=revision)]
        case _:
            assert_never(command)


def _keep(command: KeepStanding, state: State) -> list[StandingEvent]:
    if command.revision != state.revision:
        raise StandingChanged
    # Written down once, so that there is a version this was decided on, and the place is looked at when it comes.
    undecided = isinstance(state, Known) and state.place is None and not state.expected
    return [StandingExpected()] if undecided else []


def _recheck(command: RecheckPairs, state: State) -> list[StandingEvent]:
    """A later change that rechecks has a recheck of its own, which looks at all of it again."""
    if command.revision != state.due or state.rechecked == state.due:
        return []
    if command.upto is not None:
        return [PairsRecheckedInPart(revision=command.revision, after=command.upto)]
    return [PairsRechecked(revision=command.revision)]


standing: Decider[StandingCommand, State, StandingEvent] = Decider(Known(), decide, evolve)
