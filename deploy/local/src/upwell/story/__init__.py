"""The story of one command across the services, read from their stores alone: what it led to, whom that was told, and
what became of it there. Ids, names of types and times; nothing of what events hold.
"""
