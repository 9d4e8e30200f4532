"""drift: which columns moved, with false alarms calibrated on the user's own data. It tells; it triggers nothing."""
