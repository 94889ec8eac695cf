"""The settings of the destinations whose messages people read, one class for each type."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Literal

from pydantic import SecretStr

from notifier.config import likely_mistakes
from notifier.config.apprise_url import AppriseUrl, shown_apprise_url
from notifier.config.base_table import default
from notifier.config.destinations import CompletionEvent, ScheduledSettings, WebSettings
from notifier.config.errors import Problem, problem_if
from notifier.config.message_values import Language, LinkPattern, Mentions
from notifier.config.types import Count, EncryptedUrl, Rate, ReadableFile, ReadableFolder
from notifier.redact import redact


class DigestBy(StrEnum):
    """How a digest of several events is grouped."""

    TRAINING = "training"
    PERSON = "person"


class MessageSettings(ScheduledSettings, WebSettings):
    """The keys of every type of destination whose messages people read."""

    # Not `timezone`, because messages contain times of that zone.
    only_with_slots = ("urgent", "digest_by")

    type: str
    """The type of destination."""
    url: SecretStr
    """The address that messages are sent to. Anyone who knows it can post."""
    digest_above: Count = 50
    """Up to this number of waiting events get a line each, in messages of up to ten lines. If more are waiting, for
    example after an import, they are sent as one digest: a message with the number of completions of each training.
    Fewer events are also sent as a digest if their messages would take more than a minute at `rate`. Lower the value
    for a quieter channel."""
    digest_by: DigestBy = DigestBy.TRAINING
    """How the digest of a schedule or of quiet hours is grouped: by training, or by person."""
    language: Language = Language.EN
    """The language of the shipped templates and of the dates: `en` or `es`."""
    link: LinkPattern = ""
    """The address of a record, with fields in braces: `{key}`, `{training_id}`, `{user_id}`, `{source}`. Messages about
    single completions link to it."""
    templates: ReadableFolder = default("")
    """A folder with your own Jinja templates for the lines of messages. Each replaces the shipped template of the same
    name."""
    events: tuple[CompletionEvent, ...] = ("completion.created",)
    """The types of events that are sent. Empty: only alerts, if `[alerts] destination` names this destination."""
    concurrency: Count = 1
    """How many messages may be in progress at the same time."""
    rate: Rate = 1.0
    """The maximum number of messages a second on average."""

    def address(self) -> str:
        """Return the address that events go to, without any secret."""
        return redact(self.url.get_secret_value())

    def receiver_identity(self) -> object:
        """Return the URL, which identifies the receiver."""
        return self.url.get_secret_value()

    def conflicts(self) -> Iterator[Problem]:
        """Yield a problem for each contradiction between keys; `Problem.key` is relative to this table."""
        yield from super().conflicts()
        if self.concurrency > 1 and self.has_slots:
            yield Problem("concurrency", "must be 1 with a schedule or quiet times, since one digest is sent")

    def warnings(self) -> Iterator[Problem]:
        """Yield a problem for each valid value that is probably a mistake; `Problem.key` is relative to this table."""
        yield from super().warnings()
        yield from problem_if("url", likely_mistakes.of_url(self.url.get_secret_value()))


class ChatWebhookSettings(MessageSettings):
    """The keys of every type of chat channel that is reached through a webhook."""

    identity_if_set = ("proxy", "ca_file")

    ca_file: ReadableFile = default("")
    """A file with the certificates (PEM) of a private certificate authority, which is trusted instead of the
    system's."""

    def warnings(self) -> Iterator[Problem]:
        """Yield a problem for each valid value that is probably a mistake; `Problem.key` is relative to this table."""
        yield from super().warnings()
        if self.ca_file:
            yield from problem_if("ca_file", likely_mistakes.of_certificate_file(self.ca_file))


class SlackSettings(ChatWebhookSettings):
    """A Slack channel, through an incoming webhook."""

    type: Literal["slack"]
    """The type of destination."""
    url: EncryptedUrl
    """The URL of the incoming webhook. Anyone who knows it can post to the channel."""
    mention: Mentions = default({})
    """Who is mentioned, by the title of the training: `{ "Crane*" = "<!subteam^ID>" }`. `*` stands for any text."""
    rate: Rate = 1.0
    """The maximum number of messages a second on average. Slack allows about one."""

    def warnings(self) -> Iterator[Problem]:
        """Yield a problem for each valid value that is probably a mistake; `Problem.key` is relative to this table."""
        yield from super().warnings()
        yield from problem_if("url", likely_mistakes.of_slack_url(self.url.get_secret_value()))


class TeamsSettings(ChatWebhookSettings):
    """A Microsoft Teams channel or chat, through a Workflows webhook."""

    type: Literal["teams"]
    """The type of destination."""
    url: EncryptedUrl
    """The URL of the workflow "When a Teams webhook request is received". Anyone who knows it can post."""
    rate: Rate = 1.0
    """The maximum number of messages a second on average. Teams allows at most four in any second."""

    def warnings(self) -> Iterator[Problem]:
        """Yield a problem for each valid value that is probably a mistake; `Problem.key` is relative to this table."""
        yield from super().warnings()
        yield from problem_if("url", likely_mistakes.of_teams_url(self.url.get_secret_value()))


class AppriseSettings(MessageSettings):
    """One of the services that the library apprise knows."""

    type: Literal["apprise"]
    """The type of destination."""
    url: AppriseUrl
    """The service's URL in apprise's notation. Any part of it may be a secret."""

    def address(self) -> str:
        """Return the address that events go to, without any secret."""
        return shown_apprise_url(self.url)
