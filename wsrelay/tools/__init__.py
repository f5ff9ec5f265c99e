"""What a person runs: the `wsrelay` command. Twisted is imported only by the commands that need it."""
