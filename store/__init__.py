"""What is kept and how it is found: the directory, the spool of captures under way, and the log."""
