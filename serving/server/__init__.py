"""`dqbart serve`: settings, start and stop, and the deployment."""
