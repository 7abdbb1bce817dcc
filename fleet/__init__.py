"""Operate a whole fleet of OpenVPN servers at once."""

__version__ = "0.1.0"
