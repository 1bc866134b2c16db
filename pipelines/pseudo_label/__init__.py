"""`dqbart pseudo-label`: the teacher's own outputs as training targets."""
