"""The few exceptions of the hub. A bad record is a value (`Refusal`), an outage is one of these."""

from __future__ import annotations

from headwater.domain.refusal import Refusal


class HubError(Exception):
    """Base of all exceptions that the hub raises on purpose."""


class Refused(HubError):
    """A request is refused; the error middleware answers with its refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Unavailable(HubError):
    """A server that we need (Postgres, Kafka) can't do its work now. Safe to repeat; HTTP 503."""


class NotSent(Unavailable):
    """The same, and for certain nothing has begun: a repetition is the first try."""


class Contended(HubError):
    """The transaction lost against another one (deadlock, serialization). Repeat it at once."""


class StaleConsumer(HubError):
    """Another process moved the offsets first. Drop the batch and seek to the stored offsets."""


class ConfigMoved(HubError):
    """The configuration changed between reading and committing. Repeat with the new one."""


class NotServing(HubError):
    """A service can't listen where the settings say."""


class SettingInvalid(HubError):
    """An environment variable holds what can't be read; the text names it, its value and the form."""
