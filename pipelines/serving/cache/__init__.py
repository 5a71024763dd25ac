"""Answers given again: exactly, or to a question that says the same in other words. See docs/cache.md."""
