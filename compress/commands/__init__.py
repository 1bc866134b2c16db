"""The commands of the offline half: a module of flags each, and a run_* module that does the work."""
