"""The chassis against a model of it: random programs, with a crash at any wait, judged by what must hold at the end.

- `program.py` what may happen, as data that prints as what one would tell of it
- `world.py` doing it: two replicas of each part, each of which may die and is then made anew from the database
- `parts.py` what can die, and what that means; `asked.py` what clients ask and are told
- `log.py` reading and losing the log, without the product's own consumer
- `reckoning.py` what must hold when all is quiet, from the tables and the log alone
- `__main__.py` what the model notices when a safeguard is taken out of the chassis

Of 200 programs, the first that goes wrong without a safeguard. Where none does, another safeguard stands behind it, or
it only saves time; what notices then is the test named beside it in tests/shared/sabotage.py.

| without                                              | program | without                                           | program |
|------------------------------------------------------|---------|---------------------------------------------------|---------|
| the readers' barrier                                 | 100     | the projector's compare-and-set                   | 57      |
| the command's id                                     | 2       | the sequence of an event                          | 10      |
| the version check, or the lock on streams            | 8       | the compare-and-set of the consumer's offset      | 4       |
| the first answer for who would be refused now        | 104     | the compare-and-set of a stream's progress        | –       |
| the epoch in the relay's advance                     | 29      | the log a record says it is of                    | –       |
| the epoch in the relay's beginning of a log          | 188     | the deletion of a to-do with its append           | –       |
| the relay's look at the log; the name in it          | 4; 10   | the settling of a to-do done before               | –       |
|                                                      |         | the offset that tells a log was lost              | –       |
"""
