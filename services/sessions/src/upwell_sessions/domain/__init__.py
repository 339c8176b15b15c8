"""The rules of sessions, pure."""
