"""OAuth 2 with the mail providers that ask for it: getting a user's consent, and keeping it."""
