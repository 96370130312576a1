"""What is on disk: studies and their runs, adapters, base weights, predictions, and archives of all these."""
