"""Read models of the example, named by the question they answer."""
