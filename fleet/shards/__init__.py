"""One run on several processes: of this machine, or of a cluster."""
