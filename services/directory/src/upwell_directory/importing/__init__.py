"""People from a file: read, planned as a whole, then applied row by row, each row a command of its own.

`reading` turns bytes into rows, `planning` says what each row asks for given what is known (pure, both of them), and
`running` looks things up and carries the plan out. A file is safe to send again: what is done is found unchanged.
"""
