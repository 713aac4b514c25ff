"""The real stages, generate's chunks made slow, so that a test has the time to disturb them at no cost of CPU."""
