"""What servers exist and which of them are meant."""
