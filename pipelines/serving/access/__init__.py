"""Who may call the gateway, and how much: keys, people's tokens, budgets, and the record of what was refused. See docs/access.md."""

from pipelines.serving.access.door import Access
from pipelines.serving.keys import TooMany

__all__ = ["Access", "TooMany"]
