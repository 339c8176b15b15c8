"""Kinds of streams, and the bytes of their events and commands."""

from upwell_directory.domain.organisation import OrganisationCommand, OrganisationEvent, organisation
from upwell_directory.domain.person import PersonCommand, PersonEvent, person
from upwell_shared.events import EventCodec
from upwell_shared.handling import Aggregate

ORGANISATION = Aggregate("organisation", organisation, OrganisationCommand)
PERSON = Aggregate("person", person, PersonCommand)
AGGREGATES = (ORGANISATION, PERSON)
EVENTS = EventCodec(OrganisationEvent, PersonEvent)
COMMANDS = EventCodec(OrganisationCommand, PersonCommand)
