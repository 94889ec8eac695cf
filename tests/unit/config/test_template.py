"""The configuration of a new installation: made from the example of every key, with the values given to `init`."""

import re
import tomllib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from notifier.config import load
from notifier.config.template import StoredElsewhere, Values, fill_in_example, read_example, validate_values

EXAMPLE = Path(__file__).parents[3] / "config.example.toml"

names = st.from_regex(r"[a-z0-9]+(-[a-z0-9]+){0,2}", fullmatch=True).filter(lambda name: len(name) < 30)
lines = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=60)


def test_the_example_in_the_package_is_the_one_that_people_read() -> None:
    assert read_example() == EXAMPLE.read_text(encoding="utf-8")


def test_without_an_answer_everything_is_in_comments_and_every_key_is_there() -> None:
    text = fill_in_example(read_example(), {}, {})
    assert tomllib.loads(text) == {"store": {}, "log": {}, "http": {}, "alerts": {}}
    keys = re.compile(r"^(?:# )?([a-z_]+) = ", re.MULTILINE)
    assert keys.findall(text) == keys.findall(EXAMPLE.read_text(encoding="utf-8"))


def test_all_comments_stay() -> None:
    text = fill_in_example(read_example(), {}, {})
    first, *rest = EXAMPLE.read_text(encoding="utf-8").splitlines()
    assert first not in text
    assert [line for line in rest if line.partition("# ")[2] not in text] == []


@given(names, names, names, lines, lines)
def test_it_says_what_it_was_told_whatever_the_names_and_values(
    source: str, slack: str, http: str, token: str, url: str
) -> None:
    if slack == http:
        return
    renamed = {"acme": source, "safety-channel": slack, "hr-system": http}
    values: Values = {
        "sources.acme": {"token": token},
        "destinations.safety-channel": {"type": "slack", "url": url},
        "destinations.hr-system": {"type": "http", "secret": StoredElsewhere()},
    }
    text = fill_in_example(read_example(), renamed, values)
    assert tomllib.loads(text) == {
        **{table: {} for table in ("store", "log", "http", "alerts")},
        "sources": {source: {"token": token}},
        "destinations": {slack: {"type": "slack", "url": url}, http: {"type": "http"}},
    }
    variable = f"NOTIFIER_DESTINATIONS__{http.upper().replace('-', '_')}__SECRET"
    assert f"# secret: in the credential file or variable {variable}\n" in text


def test_its_own_words_about_names_follow_the_names() -> None:
    text = fill_in_example(read_example(), {"acme": "plant-2"}, {"sources.acme": {"token": "x"}})
    assert "NOTIFIER_SOURCES__PLANT_2__TOKEN is the token of [sources.plant-2]" in text
    assert "acme" not in text.lower()


def test_it_can_be_used_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(fill_in_example(read_example(), {}, {"sources.acme": {"token": "x"}}))
    assert list(load(file, environ={}).sources) == ["acme"]


def test_what_would_be_wrong_is_named_by_its_place() -> None:
    assert validate_values({"sources": {"acme": {"token": "x"}}}) == ()
    (problem,) = validate_values({"sources": {"acme": {"token": "x y"}}})
    assert problem.key == "sources.acme.token"
