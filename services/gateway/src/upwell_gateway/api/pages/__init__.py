"""Pages: what the gateway knows itself, and beside it what only the owners may tell the caller."""
