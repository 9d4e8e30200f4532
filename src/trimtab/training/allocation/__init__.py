"""watch: what holds a running job back, what it will need, and what to change about it while it runs."""
