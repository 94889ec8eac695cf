"""`notifier receive` and `notifier listen`: what is wrong with how they are called."""

from typing import TYPE_CHECKING

import pytest

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
        (("listen", "--forward", "nowhere"), "--forward must be a URL that begins with https://"),
        (("listen", "--forward", "http://example.com/x"), "--forward must be on this machine"),
        (("listen", "--forward", "http://127.0.0.1:1", "--secret", "topsecret"), '--secret must be "whsec_"'),
        (("listen", "--secret", "topsecret"), "--secret needs --forward"),
        (("listen", "--type", "completion.createdd"), "did you mean `completion.created`?"),
    ],
)
async def test_wrong_usage_is_2_and_repeats_no_secret(home: "Home", arguments: tuple[str, ...], message: str) -> None:
    said = await home.call(*arguments)
    assert said.code == 2
    assert message in " ".join(said.err.split())
    assert "topsecret" not in said.err + said.out


async def test_a_secret_comes_from_a_file_that_can_be_read(home: "Home") -> None:
    said = await home.call("receive", "--secret", f"@{home.folder}/none")
    assert (said.code, said.err) == (1, f"Error: {home.folder}/none cannot be read: No such file or directory\n")


async def test_without_a_daemon_there_is_nothing_to_listen_to(home: "Home") -> None:
    said = await home.run("listen")
    assert (said.code, said.err) == (
        1,
        "Error: no daemon runs with this configuration: start `notifier run` first\n",
    )
