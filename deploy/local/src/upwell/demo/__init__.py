"""The demo: a whole programme played over HTTP against a running stack, as its users would."""
