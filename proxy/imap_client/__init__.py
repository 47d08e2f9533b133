"""Our own IMAP client, without its socket: what is asked, and what the answers mean. Pure."""
