"""Training, from a command line to finished runs in the run store."""
