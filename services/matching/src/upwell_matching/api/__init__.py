"""HTTP of matching: parse → command or query → response."""

from fastapi import APIRouter

from upwell_matching.api import cohorts, enrolments, match_runs, pairs, programmes, proposals
from upwell_matching.carrying_out import Means


def routers(means: Means) -> list[APIRouter]:
    """Every route of the service."""
    return [
        programmes.router(means),
        cohorts.router(means),
        enrolments.router(means),
        match_runs.router(means),
        proposals.router(means),
        pairs.router(means),
    ]
