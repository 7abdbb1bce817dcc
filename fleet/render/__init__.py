"""Outcomes to text."""
