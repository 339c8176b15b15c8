"""A programme: for whom it is, what it asks of every pair, what its pairs set out to do, and its topics."""

from dataclasses import dataclass, replace
from typing import assert_never
from uuid import UUID

from upwell_matching.domain.eligibility import MOST_LEVELS, Rules
from upwell_shared.decider import Decider, DomainError

MOST_UNITS = 200
MOST_TOPICS = 200
LONGEST_NAME = 120
MOST_PLACES = 3
MOST_SESSIONS = 60
MOST_DAYS_BETWEEN = 90
SHORTEST_MINUTES, LONGEST_MINUTES = 15, 240
SHORTEST_REPLY, LONGEST_REPLY = 2, 60
LARGEST_GAP = 36_500


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What holds where nothing else is said.

    How many pairs a mentor and a mentee may have at once; the sessions of a pair, the days between them and the
    minutes of each; the days to reply to a proposal, and after how many of them those who have not are reminded.
    """

    mentor_capacity: int = 1
    mentee_capacity: int = 1
    sessions: int = 6
    days_between: int = 30
    minutes: int = 60
    reply_days: int = 10
    reminder_days: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgrammeOpened:
    """For the people of these units and all below them."""

    name: str
    unit_ids: tuple[UUID, ...]
    rules: Rules
    defaults: Defaults


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesChanged:
    """For whatever is proposed from now on. What was proposed before keeps the rules it was proposed under."""

    rules: Rules
    defaults: Defaults


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicAdded:
    topic_id: UUID
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRenamed:
    topic_id: UUID
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgrammeClosed:
    pass


ProgrammeEvent = ProgrammeOpened | RulesChanged | TopicAdded | TopicRenamed | ProgrammeClosed


@dataclass(frozen=True, slots=True)
class NoProgramme:
    pass


@dataclass(frozen=True, slots=True)
class Programme:
    """An open one. `topics` are names by id."""

    unit_ids: tuple[UUID, ...]
    rules: Rules
    defaults: Defaults
    topics: dict[UUID, str]


@dataclass(frozen=True, slots=True)
class ClosedProgramme:
    """Its cohorts and pairs go on, and so it is still asked for its rules and topics."""

    last: Programme


State = NoProgramme | Programme | ClosedProgramme


def evolve(state: State, event: ProgrammeEvent) -> State:
    if isinstance(event, ProgrammeOpened):
        return Programme(event.unit_ids, event.rules, event.defaults, {})
    if not isinstance(state, Programme):
        return state
    match event:
        case RulesChanged():
            return replace(state, rules=event.rules, defaults=event.defaults)
        case TopicAdded() | TopicRenamed():
            return replace(state, topics=state.topics | {event.topic_id: event.name})
        case ProgrammeClosed():
            return ClosedProgramme(state)
        case _:
            assert_never(event)


class UnknownProgramme(DomainError):
    """There is no such programme."""


class ProgrammeAlreadyOpened(DomainError):
    """This programme is there already."""


class ProgrammeIsClosed(DomainError):
    """This programme is closed: it takes no more cohorts, and nothing about it changes any more."""


class UnfitName(DomainError):
    """A name has 1 to 120 characters, and no space at its edges."""


class UnfitUnits(DomainError):
    """A programme is for 1 to 200 units, each named once."""


class UnfitRules(DomainError):
    """A programme's gap is at least 1, and it looks at 0 to 5 levels of managers."""


class UnfitDefaults(DomainError):
    """A programme has 1 to 3 places a person; 1 to 60 sessions of 15 to 240 minutes, 1 to 90 days apart; and 2 to 60
    days to reply, with a reminder after fewer of them.
    """


class TooManyTopics(DomainError):
    """A programme has at most 200 topics."""


class TopicNameTaken(DomainError):
    """Another topic of this programme bears this name, in whatever letters."""


class TopicAlreadyAdded(DomainError):
    """This topic is there already, under another name: rename it."""


class UnknownTopic(DomainError):
    """There is no such topic in this programme."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenProgramme:
    name: str
    unit_ids: tuple[UUID, ...]
    rules: Rules
    defaults: Defaults


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRules:
    rules: Rules
    defaults: Defaults


@dataclass(frozen=True, slots=True, kw_only=True)
class AddTopic:
    topic_id: UUID
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameTopic:
    topic_id: UUID
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseProgramme:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class RelyOnProgramme:
    """What is done beside this holds only while the programme is open: nothing happens, or a refusal."""


ProgrammeCommand = OpenProgramme | ChangeRules | AddTopic | RenameTopic | CloseProgramme | RelyOnProgramme


def decide(command: ProgrammeCommand, state: State) -> list[ProgrammeEvent]:
    if isinstance(command, OpenProgramme):
        return _open(command, state)
    match state:
        case NoProgramme():
            raise UnknownProgramme
        case ClosedProgramme():
            if isinstance(command, CloseProgramme):
                return []
            raise ProgrammeIsClosed
        case Programme():
            return _in_open_programme(command, state)
        case _:
            assert_never(state)


def _open(command: OpenProgramme, state: State) -> list[ProgrammeEvent]:
    if not isinstance(state, NoProgramme):
        raise ProgrammeAlreadyOpened
    require_name(command.name)
    if not 1 <= len(command.unit_ids) <= MOST_UNITS or len({*command.unit_ids}) < len(command.unit_ids):
        raise UnfitUnits
    _require_rules(command.rules, command.defaults)
    opened = ProgrammeOpened(
        name=command.name, unit_ids=command.unit_ids, rules=command.rules, defaults=command.defaults
    )
    return [opened]


def _in_open_programme(
    command: ChangeRules | AddTopic | RenameTopic | CloseProgramme | RelyOnProgramme, state: Programme
) -> list[ProgrammeEvent]:
    match command:
        case ChangeRules(rules=rules, defaults=defaults):
            _require_rules(rules, defaults)
            same = (rules, defaults) == (state.rules, state.defaults)
            return [] if same else [RulesChanged(rules=rules, defaults=defaults)]
        case AddTopic(topic_id=topic_id, name=name):
            if topic_id in state.topics:
                if state.topics[topic_id] != name:
                    raise TopicAlreadyAdded
                return []
            _require_free_topic(topic_id, name, state)
            if len(state.topics) >= MOST_TOPICS:
                raise TooManyTopics
            return [TopicAdded(topic_id=topic_id, name=name)]
        case RenameTopic(topic_id=topic_id, name=name):
            if topic_id not in state.topics:
                raise UnknownTopic
            _require_free_topic(topic_id, name, state)
            same = state.topics[topic_id] == name
            return [] if same else [TopicRenamed(topic_id=topic_id, name=name)]
        case CloseProgramme():
            return [ProgrammeClosed()]
        case RelyOnProgramme():
            return []
        case _:
            assert_never(command)


def require_name(name: str) -> None:
    """Raises UnfitName; of programmes, cohorts and topics alike."""
    if not 1 <= len(name) <= LONGEST_NAME or name != name.strip():
        raise UnfitName


def _require_rules(rules: Rules, defaults: Defaults) -> None:
    if not 1 <= rules.gap <= LARGEST_GAP or not 0 <= rules.independence_levels <= MOST_LEVELS:
        raise UnfitRules
    kept = (
        1 <= defaults.mentor_capacity <= MOST_PLACES,
        1 <= defaults.mentee_capacity <= MOST_PLACES,
        1 <= defaults.sessions <= MOST_SESSIONS,
        1 <= defaults.days_between <= MOST_DAYS_BETWEEN,
        SHORTEST_MINUTES <= defaults.minutes <= LONGEST_MINUTES,
        SHORTEST_REPLY <= defaults.reply_days <= LONGEST_REPLY,
        1 <= defaults.reminder_days < defaults.reply_days,
    )
    if not all(kept):
        raise UnfitDefaults


def _require_free_topic(topic_id: UUID, name: str, state: Programme) -> None:
    require_name(name)
    if any(taken.casefold() == name.casefold() for other, taken in state.topics.items() if other != topic_id):
        raise TopicNameTaken


programme: Decider[ProgrammeCommand, State, ProgrammeEvent] = Decider(NoProgramme(), decide, evolve)
