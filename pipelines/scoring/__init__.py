"""`dqbart evaluate` and `dqbart compare`, and what decodes for them and for validation."""
