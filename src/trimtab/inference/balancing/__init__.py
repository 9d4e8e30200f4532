"""balance: which backend each request goes to, decided by replaying the user's own requests."""
