"""Real performance from a purchased sample of labels, with an interval of stated coverage. Decides nothing itself."""
