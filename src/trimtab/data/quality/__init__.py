"""check: repairs and drops are proposals; the downstream model on held-out rows decides."""
