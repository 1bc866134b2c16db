"""The engines of a replica, in a process of their own: what computes and what talks to clients never wait for each other."""
