"""The command line of a checkout; an installed package has the same as the command ``routenator``."""

from slurm.commands.main import app

if __name__ == "__main__":
    app()
