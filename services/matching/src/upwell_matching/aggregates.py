"""Kinds of streams, and the bytes of their events and commands."""

from upwell_matching.domain.cohort import CohortCommand, CohortEvent, cohort
from upwell_matching.domain.enrolment import EnrolmentCommand, EnrolmentEvent, enrolment
from upwell_matching.domain.match_run import MatchRunCommand, MatchRunEvent, match_run
from upwell_matching.domain.match_run_slot import MatchRunSlotCommand, MatchRunSlotEvent, match_run_slot
from upwell_matching.domain.pair import PairCommand, PairEvent, pair
from upwell_matching.domain.programme import ProgrammeCommand, ProgrammeEvent, programme
from upwell_matching.domain.standing import StandingCommand, StandingEvent, standing
from upwell_shared.erasing import RECEIPT, ErasureCommand, ErasureEvent
from upwell_shared.events import EventCodec
from upwell_shared.handling import Aggregate

PROGRAMME = Aggregate("programme", programme, ProgrammeCommand)
COHORT = Aggregate("cohort", cohort, CohortCommand)
ENROLMENT = Aggregate("enrolment", enrolment, EnrolmentCommand)
PAIR = Aggregate("pair", pair, PairCommand)
STANDING = Aggregate("standing", standing, StandingCommand)
MATCH_RUN = Aggregate("match_run", match_run, MatchRunCommand)
MATCH_RUN_SLOT = Aggregate("match_run_slot", match_run_slot, MatchRunSlotCommand)
AGGREGATES = (PROGRAMME, COHORT, ENROLMENT, PAIR, STANDING, MATCH_RUN, MATCH_RUN_SLOT, RECEIPT)
EVENTS = EventCodec(
    ProgrammeEvent,
    CohortEvent,
    EnrolmentEvent,
    PairEvent,
    StandingEvent,
    MatchRunEvent,
    MatchRunSlotEvent,
    ErasureEvent,
)
COMMANDS = EventCodec(
    ProgrammeCommand,
    CohortCommand,
    EnrolmentCommand,
    PairCommand,
    StandingCommand,
    MatchRunCommand,
    MatchRunSlotCommand,
    ErasureCommand,
)
