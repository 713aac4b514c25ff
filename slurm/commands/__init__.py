"""The commands of launch.py, by subject. Thin: each parses, calls and prints; heavy imports happen inside them."""
