"""A request from message to response, the same for both protocols."""
