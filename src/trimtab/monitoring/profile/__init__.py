"""One pass over a table: a deterministic, mergeable profile, and what is wrong. Decides nothing itself."""
