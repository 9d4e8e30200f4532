"""scale: how many replicas, when, decided by replaying the user's own traffic."""
