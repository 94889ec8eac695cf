import errno
import os
from pathlib import Path

import pytest

from notifier.config import ConfigError, HttpSettings, Settings, load

MAIN = 'include = ["sources.d/*.toml"]\n[sources.acme]\ntoken = "t0ken-of-acme"\n'
BETA = (
    '[sources.beta]\ntoken = "t0ken-of-beta"\n[destinations.beta-hr]\ntype = "http"\nurl = "https://hr.example.com/b"\n'
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "sources.d"
    folder.mkdir()
    write(tmp_path / "config.toml", MAIN)
    return folder


def write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)


def read(folder: Path, environ: dict[str, str] | None = None) -> Settings:
    return load(folder.parent / "config.toml", environ=environ or {}, cwd=folder.parent)


def problems(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder)
    return str(caught.value).splitlines()


def warned(settings: Settings) -> list[str]:
    return [str(warning) for warning in settings.warnings()]


def test_included_files_add_sources_and_destinations(folder: Path) -> None:
    write(folder / "beta.toml", BETA)
    write(folder / "gamma.toml", '[sources.gamma]\ntoken = "t0ken-of-gamma"\n')
    write(folder / "beta.toml~", "not TOML at all")
    settings = read(folder)
    assert list(settings.sources) == ["acme", "beta", "gamma"]
    assert list(settings.destinations) == ["beta-hr"]


def test_paths_in_an_included_file_are_relative_to_its_folder(folder: Path) -> None:
    write(folder / "authority.pem", "")
    write(folder / "beta.toml", BETA + 'ca_file = "authority.pem"\n')
    destination = read(folder).destinations["beta-hr"]
    assert isinstance(destination, HttpSettings)
    assert destination.ca_file == folder / "authority.pem"


def test_variable_overrides_a_key_of_an_included_file(folder: Path) -> None:
    write(folder / "beta.toml", BETA)
    settings = read(folder, {"NOTIFIER_SOURCES__BETA__TOKEN": "from-the-environment"})
    assert settings.sources["beta"].token.get_secret_value() == "from-the-environment"


def test_include_can_be_set_by_a_variable(folder: Path) -> None:
    write(folder / "beta.toml", BETA)
    write(folder.parent / "config.toml", MAIN.partition("\n")[2])
    assert list(read(folder, {"NOTIFIER_INCLUDE": '["sources.d/*.toml"]'}).sources) == ["acme", "beta"]


def test_include_pattern_that_matches_the_main_file_adds_nothing(folder: Path) -> None:
    write(folder.parent / "config.toml", MAIN.replace("sources.d/", ""))
    assert list(read(folder).sources) == ["acme"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[sources.beta]\n", "sources.beta.token: is required"),
        ('[sources.beta]\ntoken = "x-t0ken"\npoll_intervall = "5s"\n', "sources.beta.poll_intervall: unknown key"),
        ('[sources.beta]\ntoken = "x-t0ken"\napi = "v1"\nhas_attachments = true\n', "sources.beta.has_attachments: "),
        ('[sources."Beta Corp"]\ntoken = "x-t0ken"\n', 'sources."Beta Corp": '),
        ('[sources.beta]\ntoken = "x-t0ken"\nid_namespace = "acme"\n', "sources.beta.id_namespace: produces the same"),
    ],
)
def test_problem_in_an_included_file_names_the_file(folder: Path, text: str, expected: str) -> None:
    write(folder / "beta.toml", text)
    [problem] = problems(folder)
    assert problem.startswith(expected)
    assert problem.endswith(f"(in {folder / 'beta.toml'})")


def test_problem_in_the_main_file_names_no_included_file(folder: Path) -> None:
    write(folder / "beta.toml", BETA)
    write(folder.parent / "config.toml", MAIN + 'api = "v9"\n')
    [problem] = problems(folder)
    assert "beta.toml" not in problem


def test_included_file_with_invalid_toml_is_reported_with_its_line(folder: Path) -> None:
    write(folder / "beta.toml", "[sources.beta\n")
    assert problems(folder)[0].startswith(f"{folder / 'beta.toml'}: line 1")


@pytest.mark.parametrize(("key", "value"), [("include", '["more.toml"]'), ("sources", "5"), ("store", "{}")])
def test_included_file_with_another_table_is_rejected(folder: Path, key: str, value: str) -> None:
    write(folder / "beta.toml", f"{key} = {value}\n")
    [problem] = problems(folder)
    assert problem.startswith(f"{folder / 'beta.toml'}: has `{key}`: an included file can only have tables [sources.")


def test_name_defined_in_two_files_is_rejected(folder: Path) -> None:
    write(folder / "a.toml", BETA)
    write(folder / "b.toml", BETA)
    write(folder / "c.toml", '[sources.acme]\ntoken = "another"\n')
    main = folder.parent / "config.toml"
    assert problems(folder) == [
        f"{folder / 'b.toml'}: defines sources.beta, which {folder / 'a.toml'} defines too; remove one of them",
        f"{folder / 'b.toml'}: defines destinations.beta-hr, which {folder / 'a.toml'} defines too; remove one of them",
        f"{folder / 'c.toml'}: defines sources.acme, which {main} defines too; remove one of them",
    ]


def test_included_file_writable_by_others_is_refused(folder: Path) -> None:
    write(folder / "beta.toml", BETA)
    (folder / "beta.toml").chmod(0o666)
    assert "can be written by other users (mode 0666)" in problems(folder)[0]


def test_included_file_with_world_readable_secrets_gives_a_warning(folder: Path) -> None:
    write(folder / "beta.toml", BETA)
    (folder / "beta.toml").chmod(0o644)
    assert f"{folder / 'beta.toml'}: contains secrets, and every user can read it" in "\n".join(warned(read(folder)))


def test_include_warns_of_an_unmatched_pattern_and_rejects_a_missing_file(folder: Path) -> None:
    assert "include[0]: no file matches this pattern" in warned(read(folder))
    write(folder.parent / "config.toml", MAIN.replace("*", "beta"))
    assert problems(folder) == ["include[0]: there is no such file"]


@pytest.mark.parametrize("name", ["safety[1]", "what?", "all *", "[a]*"])
def test_include_treats_a_folder_named_like_a_pattern_as_a_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / "sources.d"
    folder.mkdir(parents=True)
    write(folder / "beta.toml", BETA)
    write(folder.parent / "config.toml", MAIN)
    assert list(read(folder).sources) == ["acme", "beta"]
    write(folder.parent / "config.toml", MAIN.replace("*", "beta"))
    assert list(read(folder).sources) == ["acme", "beta"]
    write(folder.parent / "config.toml", MAIN.replace("*", "gamma"))
    assert problems(folder) == ["include[0]: there is no such file"]
    write(folder.parent / "config.toml", MAIN.partition("\n")[2])
    assert list(read(folder, {"NOTIFIER_INCLUDE": '["sources.d/b*"]'}).sources) == ["acme", "beta"]


def test_included_link_to_itself_is_rejected(folder: Path) -> None:
    (folder / "beta.toml").symlink_to("beta.toml")
    assert problems(folder) == [f"{folder / 'beta.toml'}: cannot be read: Too many levels of symbolic links"]


def test_include_from_an_unreadable_folder_is_rejected(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests may run as root, who can read every folder.
    def refuse(_: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert problems(folder) == ["include[0]: the folder cannot be read: Permission denied"]


@pytest.mark.parametrize("written", ["5", '"sources.d/*.toml"', '["a", 5]', '[""]'])
def test_include_with_a_wrong_value_is_rejected(folder: Path, written: str) -> None:
    write(folder.parent / "config.toml", MAIN.replace('["sources.d/*.toml"]', written))
    assert problems(folder)[0].startswith("include")


def test_included_link_to_a_pipe_is_refused_but_to_dev_null_is_accepted(folder: Path) -> None:
    pipe = folder.parent / "pipe"
    os.mkfifo(pipe, 0o600)
    (folder / "beta.toml").symlink_to(pipe)
    assert problems(folder) == [f"{folder / 'beta.toml'}: is a named pipe, not a regular file"]
    (folder / "beta.toml").unlink()
    (folder / "beta.toml").symlink_to(os.devnull)
    assert list(read(folder).sources) == ["acme"]
