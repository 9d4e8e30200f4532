"""Forecasts of request rates that policies and people use. Decides nothing itself."""
