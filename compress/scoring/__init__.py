"""Generate and score: the metrics of each task, and where scores are kept."""
