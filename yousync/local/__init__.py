"""The servers of the one-machine stack, run as plain processes of this user, without containers."""
