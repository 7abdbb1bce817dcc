"""What fleet keeps on this machine: locks, the audit, the history of its runs."""
