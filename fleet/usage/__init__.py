"""What daemons count, kept over time: sessions and byte counts in an SQLite database (docs/usage-database.md)."""
