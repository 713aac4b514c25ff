"""The local driver: the stages of a run as processes of this machine."""
