"""A simulated fleet: what a run costs the controller, with hosts that answer at once."""
