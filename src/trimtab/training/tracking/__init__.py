"""The tracker: what a training run was given, what came out, on what it ran. The ledger holds it."""
