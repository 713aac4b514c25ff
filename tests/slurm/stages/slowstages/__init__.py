"""The real stages with chunks of generate slowed down, so that a test has time to disturb them without using CPU."""
