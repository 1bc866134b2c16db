"""`dqbart augment`: more training data from the data there is, by rules and without a model."""
