"""`fleet top`: the fleet live on one screen. The only room with Textual, which is imported late and may be missing."""
