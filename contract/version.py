"""The version of YouSync that dead letters and the command line name."""

from importlib.metadata import version

VERSION = version("yousync")
