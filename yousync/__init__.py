"""The command line, and everything that one machine needs to run the whole pipeline."""
