"""An embedded fleet: an in-process SSH server and simulated management daemons."""
