"""Programmes, cohorts, enrolments, and the pairs that come of them."""
