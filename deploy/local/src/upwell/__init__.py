"""Runs Upwell on one machine."""
