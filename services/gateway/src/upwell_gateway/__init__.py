"""One door for everybody: login, routing, and pages read from all services' events."""
