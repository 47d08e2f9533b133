"""The program as people meet it: command line, settings, sandbox, and `app`, where everybody meets."""
