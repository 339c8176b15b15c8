"""The chassis against a model of it: random programs, with a crash at any wait, judged by what must hold at the end.

- `program.py` what may happen, as data that prints as what one would tell of it
- `world.py` doing it: two replicas of each part, each of which may die and is then made anew from the database
- `log.py` reading and losing the log, without the product's own consumer
- `reckoning.py` what must hold when all is quiet, from the tables and the log alone
"""
