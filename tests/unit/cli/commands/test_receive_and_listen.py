"""`notifier receive` and `notifier listen`: wrong usage, and what `receive` prints."""

from typing import TYPE_CHECKING

import pytest

from notifier.cli.commands.receive import _show
from notifier.cli.receiver import ReceivedEvent, ReceivedRequest
from notifier.destinations.webhook.verification import Verdict

if TYPE_CHECKING:
    from tests.support.command_line import Home


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("receive", "--secret", "topsecret"), "--secret must be whsec_ and a secret in base64"),
        (("receive", "--secret", "whsec_"), "--secret must be whsec_ and a secret in base64"),
        (("receive", "--secret", "whpk_AAAA"), "--secret must be whpk_ and a public Ed25519 key of 32 bytes"),
        (("receive", "--secret", "whsk_AAAA"), "--secret is a private key, which only the sender may have"),
        (("receive", "--answer", "100"), "100 is not in the range 200<=x<=599"),
        (("receive", "--port", "70000"), "70000 is not in the range"),
        (("listen", "--forward", "nowhere"), "--forward must be a URL that begins with https:// or http:// and a host"),
        (("listen", "--forward", "http://example.com/x"), "--forward must be on this machine"),
        (("listen", "--forward", "http://127.0.0.1:1", "--secret", "topsecret"), '--secret must be "whsec_"'),
        (("listen", "--secret", "topsecret"), "--secret needs --forward"),
        (("listen", "--type", "completion.createdd"), "did you mean `completion.created`?"),
    ],
)
async def test_wrong_usage_exits_2_and_shows_no_secret(home: "Home", arguments: tuple[str, ...], message: str) -> None:
    said = await home.call(*arguments)
    assert said.code == 2
    assert message in " ".join(said.err.split())
    assert "topsecret" not in said.err + said.out


async def test_receive_with_a_missing_secret_file_exits_1(home: "Home") -> None:
    said = await home.call("receive", "--secret", f"@{home.folder}/none")
    assert (said.code, said.err) == (1, f"Error: {home.folder}/none cannot be read: No such file or directory\n")


async def test_listen_without_a_daemon_exits_1(home: "Home") -> None:
    said = await home.run("listen")
    assert (said.code, said.err) == (
        1,
        "Error: no daemon runs with this configuration: start `notifier run` first\n",
    )


def test_receive_shows_requests_without_terminal_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    event = ReceivedEvent("evt_1", "completion.created", "Mal\x1b]0;owned\x07ice", is_repeated=True)
    verdict = Verdict(is_genuine=True, reason="signature valid (v1)")
    _show(ReceivedRequest("POST", "/in", "evt_1", verdict, 204, (event,), "a note"))
    first, second, third = capsys.readouterr().out.splitlines()
    assert first[8:] == "  POST  /in  evt_1  (signature valid (v1))  answered 204"
    assert second.startswith("          completion.created  evt_1  Mal")
    assert second.endswith("  (arrived before)")
    assert "\x1b" not in second
    assert third == "          a note"
