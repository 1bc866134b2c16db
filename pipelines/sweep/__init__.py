"""`dqbart sweep`: many students of one teacher, compared in one table and one plot."""
