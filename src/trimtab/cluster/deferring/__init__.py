"""defer: when deferrable work runs, and on what, decided by replaying the user's own markets."""
