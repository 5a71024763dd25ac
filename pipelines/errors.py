"""Every error Ratchet raises on purpose.

RatchetError
├── BadInput            what a person gave is wrong; a command exits 2 and has changed nothing
│   ├── ConfigError     a file under configs/, or an environment variable
│   ├── ArrivalRefused  a delivery that cannot be taken; the reason goes to the ledger
│   └── NotFound        a name that stands for nothing
├── NotAllowed          the actor lacks the right; audited
├── Conflict            the state of the world forbids it now (another rollout runs, the candidate is not approved)
├── GateRefused         the gate said fail or inconclusive
├── MaskingFailed       masking could not run: nothing passes
├── Interrupted         stopped on request, its state saved: running it again goes on
├── Stalled             made no progress for too long, and was killed
└── Unavailable         a service does not answer; trying again later may help
"""

from __future__ import annotations


class RatchetError(Exception):
    """An expected failure. `what` went wrong, `where` (file, key, id), and what `todo` about it."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", todo: str = "") -> None:
        self.what, self.where, self.todo = what, where, todo
        super().__init__(what)

    def __str__(self) -> str:
        """One line, fit for a terminal, a log and the ledger."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} ({self.todo})" if self.todo else text

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments would be lost when an error crosses a process boundary.
        return (_rebuild, (type(self), self.what, self.where, self.todo))


def _rebuild(kind: type[RatchetError], what: str, where: str, todo: str) -> RatchetError:
    return kind(what, where=where, todo=todo)


class BadInput(RatchetError):
    """What a person gave is wrong. Nothing was changed."""

    exit_code = 2


class ConfigError(BadInput):
    """A configuration file or environment variable is wrong."""


class ArrivalRefused(BadInput):
    """A delivery, or one file of it, cannot be taken."""


class NotFound(BadInput):
    """A name that stands for nothing."""


class NotAllowed(RatchetError):
    """The actor lacks the right to do this."""


class Conflict(RatchetError):
    """The present state forbids it."""


class GateRefused(RatchetError):
    """The gate's verdict was `fail` or `inconclusive`."""


class MaskingFailed(RatchetError):
    """Masking could not run, so nothing passes."""


class Interrupted(RatchetError):
    """Stopped on request (SIGTERM) with its state saved. Exit 75 is EX_TEMPFAIL of sysexits.h: try again."""

    exit_code = 75


class Stalled(RatchetError):
    """No progress within the limit, so it was killed."""

    exit_code = 4


class Unavailable(RatchetError):
    """A service does not answer."""
