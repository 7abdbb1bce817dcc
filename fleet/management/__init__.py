"""OpenVPN's management protocol, sans-I/O: bytes in, events out. No asyncio, no socket, no clock."""
