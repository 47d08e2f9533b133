"""The IMAP pass-through without I/O (RFC 9051, RFC 3501)."""
