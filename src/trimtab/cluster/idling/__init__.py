"""scale to zero: how long a replica that nobody asks stays, decided by replaying the user's own calls."""
