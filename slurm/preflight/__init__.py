"""Checks and previews a run before anything is written or submitted: checks, doctor, forecast, preview."""
