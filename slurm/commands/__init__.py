"""The commands of launch.py, by subject. Thin: each parses, calls and prints. ``lazy`` lists them all."""
