"""OAuth 2 with the mail providers that ask for it: getting a user's consent, and keeping it.

issuer    who issues tokens, as settings name them
exchange  one form posted to an issuer, and its answer
client    what is asked of an issuer: tokens for a code, newer tokens, a device code
consent   a user's consent in a browser on this machine
device    a user's consent on another device
failure   what can go wrong
"""
