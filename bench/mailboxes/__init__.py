"""The part with mailboxes: what IMAP through onrecord costs, next to programs that pass it on, too."""
