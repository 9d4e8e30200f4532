"""schedule: who runs next on a GPU cluster, decided by replaying the user's own job log."""
