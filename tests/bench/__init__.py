"""How near Upwell's paths come to the floor under each of them: see README.md."""
