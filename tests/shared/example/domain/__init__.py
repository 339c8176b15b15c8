"""Pure rules of the example."""
