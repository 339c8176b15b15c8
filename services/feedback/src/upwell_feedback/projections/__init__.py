"""Read models of feedback, named by the question they answer."""
