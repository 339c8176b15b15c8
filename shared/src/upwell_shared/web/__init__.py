"""The HTTP base of every service: create_app, and what its routes are declared with."""
