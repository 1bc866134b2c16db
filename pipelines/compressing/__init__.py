"""`dqbart compress`: students trained by one half, and validated by the other's engine."""
