"""HTTP of the gateway: login, what is handed on to the services, and pages of its own facts."""
