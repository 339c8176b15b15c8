"""Read models of the directory, named by the question they answer."""
