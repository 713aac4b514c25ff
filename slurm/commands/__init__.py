"""The commands of launch.py, grouped by subject. Each only parses, calls and prints; ``lazy`` lists them all."""
