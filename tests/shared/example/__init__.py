"""A whole service in miniature: rooms with few seats, bookings that take one.

It ships with nothing. The chassis' suites run on it, and a newcomer sees every slot of a service at once:

- `domain/` two aggregates: what may happen, and what follows
- `publishing.py` what others are told (the one door out); `contract.py` how they are told
- `reactions.py` what others' facts make us do (the one door in)
- `timing.py` what is due when
- `projections/` one read model a file: of our own events, and of published ones
- `app.py` the composition root, `api.py` HTTP
"""

from pathlib import Path

FOLDER = Path(__file__).parent
"""Where the example's committed contract files are."""
