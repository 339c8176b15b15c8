"""What all services have told, by the question it answers.

A row is keyed by the stream its events come from. What the public and the internal channel tell lies in different
tables, or in columns that only one of them writes: the two have no order between each other, and are joined on read.
"""
