"""A cohort's slot for match runs: one of them at a time holds it."""

from dataclasses import dataclass
from typing import assert_never
from uuid import UUID

from upwell_matching.domain.match_run import MatchRunUnderWay
from upwell_shared.decider import Decider


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRunSlotTaken:
    match_run_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRunSlotFreed:
    match_run_id: UUID


MatchRunSlotEvent = MatchRunSlotTaken | MatchRunSlotFreed


@dataclass(frozen=True, slots=True)
class Free:
    pass


@dataclass(frozen=True, slots=True)
class Taken:
    by: UUID


State = Free | Taken


def evolve(_: State, event: MatchRunSlotEvent) -> State:
    match event:
        case MatchRunSlotTaken(match_run_id=match_run_id):
            return Taken(match_run_id)
        case MatchRunSlotFreed():
            return Free()
        case _:
            assert_never(event)


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeMatchRunSlot:
    match_run_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeMatchRunSlot:
    match_run_id: UUID


MatchRunSlotCommand = TakeMatchRunSlot | FreeMatchRunSlot


def decide(command: MatchRunSlotCommand, state: State) -> list[MatchRunSlotEvent]:
    match command:
        case TakeMatchRunSlot(match_run_id=match_run_id):
            if isinstance(state, Free):
                return [MatchRunSlotTaken(match_run_id=match_run_id)]
            if state.by != match_run_id:
                raise MatchRunUnderWay
            return []
        case FreeMatchRunSlot(match_run_id=match_run_id):
            held = state == Taken(match_run_id)
            return [MatchRunSlotFreed(match_run_id=match_run_id)] if held else []
        case _:
            assert_never(command)


match_run_slot: Decider[MatchRunSlotCommand, State, MatchRunSlotEvent] = Decider(Free(), decide, evolve)
