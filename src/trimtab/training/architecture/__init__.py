"""shrink: smaller models that are nearly as good, and the front of quality and cost that they make."""
