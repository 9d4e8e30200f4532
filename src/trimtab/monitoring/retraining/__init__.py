"""retrain: when to train again, by replaying production."""
