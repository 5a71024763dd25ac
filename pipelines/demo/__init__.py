"""The story a newcomer watches: `make demo`."""
