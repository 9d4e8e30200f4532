"""pack: on which node and GPU a pod goes, decided by filling the user's own nodes with their own pods."""
