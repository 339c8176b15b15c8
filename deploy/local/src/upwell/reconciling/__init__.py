"""Whether everything agrees: stores, ledgers, log, consumers, the gateway's rows, and what a driver was told is done.

Nothing here calls the code it checks: stores are read by SQL of its own, the log from offset 0, and the gateway's rows
are compared with a fold written for this purpose alone.
"""
