"""What one can do to a fleet."""
