"""When a pair meets, whether it did, and what it notes down."""
