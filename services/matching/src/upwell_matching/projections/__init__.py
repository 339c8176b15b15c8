"""Read models of matching, named by the question they answer."""
