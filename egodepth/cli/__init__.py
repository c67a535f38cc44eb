"""The command line: parse, call, show. One file for each family of commands."""
