"""`python -m dqbart` is the command line."""

from dqbart.cli import main

main()
