"""A match run: pairs are found for a whole cohort, looked at as a draft, and published; then each is proposed.

One at a time a cohort, from its start until its last pair was proposed: whoever starts one takes the cohort's slot, a
stream of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar, assert_never
from uuid import UUID, uuid5

from upwell_matching.domain.eligibility import Rules
from upwell_matching.domain.enrolment import Side
from upwell_shared.decider import Decider, DomainError

T = TypeVar("T")

_EVENT_IDS: Final = 5_000
"""So many ids at most stand in one event, which so stays far below what a store accepts."""


def drafted_pair_id(match_run_id: UUID, mentor_id: UUID, mentee_id: UUID) -> UUID:
    """What a drafted pair is called when it is proposed."""
    return uuid5(match_run_id, f"{mentor_id}/{mentee_id}")


def slot_id(cohort_id: UUID) -> UUID:
    """The stream of a cohort's slot."""
    return uuid5(cohort_id, "match run")


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftedPair:
    """`topics` are those the mentee learns of, `returned` those the mentor does."""

    pair_id: UUID
    mentor_id: UUID
    mentee_id: UUID
    score: int
    topics: tuple[UUID, ...]
    returned: tuple[UUID, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """So many people of the other side were no partner for this reason."""

    reason: str
    people: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOver:
    """Somebody in none of the pairs."""

    person_id: UUID
    side: Side
    obstacles: tuple[Obstacle, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRunStarted:
    """The same people, rules and seed lead to the same pairs."""

    programme_id: UUID
    cohort_id: UUID
    rules: Rules
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsDrafted:
    """Some of the pairs."""

    pairs: tuple[DraftedPair, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleLeftOver:
    """Some of those who are in none."""

    people: tuple[LeftOver, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRunDrafted:
    """That is all of them."""

    pairs: int
    left_over: int
    score: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRunPublished:
    pairs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRunDiscarded:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRunFailed:
    """No pairs could be found, for no reason of these people's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalSkipped:
    """A pair that could not be proposed any more; `reason` is the slug of the rule that said no."""

    pair_id: UUID
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRunFinished:
    """Every pair was proposed or skipped."""

    proposed: int
    skipped: int


MatchRunEvent = (
    MatchRunStarted
    | PairsDrafted
    | PeopleLeftOver
    | MatchRunDrafted
    | MatchRunPublished
    | MatchRunDiscarded
    | MatchRunFailed
    | ProposalSkipped
    | MatchRunFinished
)


@dataclass(frozen=True, slots=True)
class NoMatchRun:
    pass


@dataclass(frozen=True, slots=True)
class Running:
    programme_id: UUID
    cohort_id: UUID
    pairs: frozenset[UUID] = frozenset()


@dataclass(frozen=True, slots=True)
class Draft:
    programme_id: UUID
    cohort_id: UUID
    pairs: frozenset[UUID]


@dataclass(frozen=True, slots=True)
class Published:
    programme_id: UUID
    cohort_id: UUID
    pairs: frozenset[UUID]
    skipped: frozenset[UUID] = frozenset()
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Discarded:
    """By somebody, or because it failed."""

    programme_id: UUID
    cohort_id: UUID


State = NoMatchRun | Running | Draft | Published | Discarded


def evolve(state: State, event: MatchRunEvent) -> State:
    if isinstance(event, MatchRunStarted):
        return Running(event.programme_id, event.cohort_id)
    if isinstance(state, NoMatchRun):
        return state
    match event:
        case PairsDrafted(pairs=pairs):
            if not isinstance(state, Running):
                return state
            return replace(state, pairs=state.pairs | {pair.pair_id for pair in pairs})
        case PeopleLeftOver():
            return state
        case MatchRunDrafted():
            if not isinstance(state, Running):
                return state
            return Draft(state.programme_id, state.cohort_id, state.pairs)
        case MatchRunPublished():
            if not isinstance(state, Draft):
                return state
            return Published(state.programme_id, state.cohort_id, state.pairs)
        case MatchRunDiscarded() | MatchRunFailed():
            return Discarded(state.programme_id, state.cohort_id)
        case ProposalSkipped(pair_id=pair_id):
            if not isinstance(state, Published):
                return state
            return replace(state, skipped=state.skipped | {pair_id})
        case MatchRunFinished():
            return replace(state, finished=True) if isinstance(state, Published) else state
        case _:
            assert_never(event)


class UnknownMatchRun(DomainError):
    """There is no such match run."""


class MatchRunAlreadyStarted(DomainError):
    """This match run is there already."""


class MatchRunUnderWay(DomainError):
    """Another match run of this cohort is running, waits to be published, or is being proposed."""


class MatchRunStillRunning(DomainError):
    """The pairs of this match run are still being found."""


class MatchRunIsPublished(DomainError):
    """This match run is published: withdraw proposals one by one."""


class MatchRunIsDiscarded(DomainError):
    """This match run was discarded, or has failed: start another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartMatchRun:
    programme_id: UUID
    cohort_id: UUID
    rules: Rules
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftMatchRun:
    """What was found, whole."""

    pairs: tuple[DraftedPair, ...]
    left_over: tuple[LeftOver, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishMatchRun:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscardMatchRun:
    """Also one that is still running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailMatchRun:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipProposal:
    pair_id: UUID
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishMatchRun:
    """Sent once every pair was proposed or skipped."""


MatchRunCommand = (
    StartMatchRun
    | DraftMatchRun
    | PublishMatchRun
    | DiscardMatchRun
    | FailMatchRun
    | SkipProposal
    | FinishMatchRun
)


def decide(command: MatchRunCommand, state: State) -> list[MatchRunEvent]:
    if isinstance(command, StartMatchRun):
        if not isinstance(state, NoMatchRun):
            raise MatchRunAlreadyStarted
        started = MatchRunStarted(
            programme_id=command.programme_id,
            cohort_id=command.cohort_id,
            rules=command.rules,
            seed=command.seed,
        )
        return [started]
    if isinstance(state, NoMatchRun):
        raise UnknownMatchRun
    match command:
        case DraftMatchRun():
            return [*_drafted(command)] if isinstance(state, Running) else []
        case PublishMatchRun():
            return _publish(state)
        case DiscardMatchRun():
            return _discard(state)
        case FailMatchRun():
            return [MatchRunFailed()] if isinstance(state, Running) else []
        case SkipProposal(pair_id=pair_id, reason=reason):
            waits = isinstance(state, Published) and pair_id in state.pairs - state.skipped
            return [ProposalSkipped(pair_id=pair_id, reason=reason)] if waits else []
        case FinishMatchRun():
            if not isinstance(state, Published) or state.finished:
                return []
            skipped = len(state.skipped)
            return [MatchRunFinished(proposed=len(state.pairs) - skipped, skipped=skipped)]
        case _:
            assert_never(command)


def _drafted(command: DraftMatchRun) -> Iterator[MatchRunEvent]:
    sizes = [3 + len(pair.topics) + len(pair.returned) for pair in command.pairs]
    for pairs in _parts(command.pairs, sizes):
        yield PairsDrafted(pairs=pairs)
    # An obstacle is about as long as an id.
    for people in _parts(command.left_over, [1 + 2 * len(person.obstacles) for person in command.left_over]):
        yield PeopleLeftOver(people=people)
    yield MatchRunDrafted(
        pairs=len(command.pairs),
        left_over=len(command.left_over),
        score=sum(pair.score for pair in command.pairs),
    )


def _parts(things: Sequence[T], sizes: Sequence[int]) -> Iterator[tuple[T, ...]]:
    """In their order, cut so that no part of several is larger than an event's share."""
    part: list[T] = []
    room = _EVENT_IDS
    for thing, size in zip(things, sizes, strict=True):
        if part and size > room:
            yield tuple(part)
            part, room = [], _EVENT_IDS
        part.append(thing)
        room -= size
    if part:
        yield tuple(part)


def _publish(state: Running | Draft | Published | Discarded) -> list[MatchRunEvent]:
    match state:
        case Running():
            raise MatchRunStillRunning
        case Draft(pairs=pairs):
            return [MatchRunPublished(pairs=len(pairs))]
        case Published():
            return []
        case Discarded():
            raise MatchRunIsDiscarded
        case _:
            assert_never(state)


def _discard(state: Running | Draft | Published | Discarded) -> list[MatchRunEvent]:
    match state:
        case Running() | Draft():
            return [MatchRunDiscarded()]
        case Published():
            raise MatchRunIsPublished
        case Discarded():
            return []
        case _:
            assert_never(state)


match_run: Decider[MatchRunCommand, State, MatchRunEvent] = Decider(NoMatchRun(), decide, evolve)
