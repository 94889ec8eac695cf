"""The configuration of a new installation: made from the example of all keys and the values given to `init`."""

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


def test_packaged_example_equals_config_example_toml() -> None:
    assert read_example() == EXAMPLE.read_text(encoding="utf-8")


def test_fill_in_example_without_values_comments_out_every_key() -> None:
    text = fill_in_example(read_example(), {}, {})
    assert tomllib.loads(text) == {"store": {}, "log": {}, "http": {}, "alerts": {}}
    keys = re.compile(r"^(?:# )?([a-z_]+) = ", re.MULTILINE)
    assert keys.findall(text) == keys.findall(EXAMPLE.read_text(encoding="utf-8"))


def test_fill_in_example_keeps_all_comments_but_the_first_line() -> None:
    text = fill_in_example(read_example(), {}, {})
    first, *rest = EXAMPLE.read_text(encoding="utf-8").splitlines()
    assert first not in text
    assert [line for line in rest if line.partition("# ")[2] not in text] == []


@given(names, names, names, lines, lines)
def test_fill_in_example_writes_any_names_and_values(source: str, slack: str, http: str, token: str, url: str) -> None:
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


def test_fill_in_example_renames_the_source_in_comments() -> None:
    text = fill_in_example(read_example(), {"acme": "plant-2"}, {"sources.acme": {"token": "x"}})
    assert "NOTIFIER_SOURCES__PLANT_2__TOKEN is the token of [sources.plant-2]" in text
    assert "acme" not in text.lower()


def test_fill_in_example_returns_a_configuration_that_can_be_loaded(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(fill_in_example(read_example(), {}, {"sources.acme": {"token": "x"}}))
    assert list(load(file, environ={}).sources) == ["acme"]


def test_validate_values_names_the_key_of_a_wrong_value() -> None:
    assert validate_values({"sources": {"acme": {"token": "x"}}}) == ()
    (problem,) = validate_values({"sources": {"acme": {"token": "x y"}}})
    assert problem.key == "sources.acme.token"
