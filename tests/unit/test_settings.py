"""Where settings come from, which one wins, and how a wrong one is named."""

import enum
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from service import settings
from service.core.values import Mode
from service.settings import LogFormat, SettingsError, load


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but the test's."""
    for name in list(os.environ):
        if name.startswith(("EFFSERVE_", "XDG_")):
            monkeypatch.delenv(name)


def written(folder: Path, text: str) -> Path:
    """A settings file."""
    path = folder / "effserve.toml"
    path.write_text(text, encoding="utf-8")
    return path


def value(of: settings.Settings, name: str) -> object:
    """The setting `group.name`."""
    group, _, key = name.partition(".")
    found: object = getattr(getattr(of, group), key)
    return found


FORMATTED: dict[str, object] = {
    "tracing.endpoint": "https://elsewhere:4317",
    "lanes.device": "1",
    "lanes.provider_cache": Path("/elsewhere"),
}
"""Settings whose texts have a form."""


def another(name: str, current: object) -> object:
    """A value of the same type, in range, that is not the present one."""
    if name in FORMATTED:
        return FORMATTED[name]
    match current:
        case bool():
            return not current
        case enum.Enum():
            return next(member for member in type(current) if member is not current)
        case int():
            return current + 1
        case float():
            return current / 2
        case Path():
            return Path("/elsewhere")
        case None:
            return 3
        case _:
            return "elsewhere"


@pytest.mark.parametrize("name", settings.names())
def test_every_setting_is_reached_from_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value of the right type arrives in its place, and nowhere else."""
    before = load()
    wanted = another(name, value(before, name))
    monkeypatch.setenv(settings.variable(name), str(wanted).lower() if isinstance(wanted, bool) else str(wanted))
    after = load()
    assert value(after, name) == wanted
    assert {n for n in settings.names() if value(after, n) != value(before, n)} == {name}


@pytest.mark.parametrize("name", settings.names())
def test_every_setting_is_reached_from_the_file(name: str, tmp_path: Path) -> None:
    """One table for each group."""
    group, _, key = name.partition(".")
    wanted = another(name, value(load(), name))
    text = (
        str(wanted).lower()
        if isinstance(wanted, bool)
        else wanted
        if isinstance(wanted, int | float)
        else f'"{wanted}"'
    )
    assert value(load(written(tmp_path, f"[{group}]\n{key} = {text}\n")), name) == wanted


@pytest.mark.parametrize("name", settings.names())
def test_every_setting_is_described(name: str) -> None:
    """In words that the settings page repeats; a default of the machine is described there too."""
    group, _, key = name.partition(".")
    field = settings.groups()[group].model_fields[key]
    assert field.description
    assert (field.default_factory is None) or " Default: " in field.description


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source is taken away in turn."""
    file, flags = written(tmp_path, "[http]\nport = 1002\n"), {"http": {"port": 1004}}
    monkeypatch.setenv("EFFSERVE_HTTP_PORT", "1003")
    assert load(file, flags).http.port == 1004
    assert load(file).http.port == 1003
    monkeypatch.delenv("EFFSERVE_HTTP_PORT")
    assert load(file).http.port == 1002
    assert load().http.port == 8000


def test_sources_mix_within_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag for one setting leaves its neighbours to the environment and the file."""
    file = written(tmp_path, '[log]\nlevel = "error"\nformat = "json"\n')
    monkeypatch.setenv("EFFSERVE_LOG_FORMAT", "console")
    log = load(file, {"log": {"requests": False}}).log
    assert (log.level, log.format, log.requests) == ("error", LogFormat.CONSOLE, False)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("EFFSERVE_HTTP_PROT", "EFFSERVE_HTTP_PORT"),
        ("EFFSERVE_HTPP_PORT", "EFFSERVE_HTTP_PORT"),
        ("EFFSERVE_LIMITS_IMAGEBYTES", "EFFSERVE_LIMITS_IMAGE_BYTES"),
        ("EFFSERVE_STORE", "EFFSERVE_STORE_DIR"),
    ],
)
def test_a_typo_in_the_environment_is_named(wrong: str, right: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the closest name that exists."""
    monkeypatch.setenv(wrong, "1")
    with pytest.raises(SettingsError) as caught:
        load()
    assert str(caught.value) == f"{wrong} is not a known environment variable; did you mean {right}?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[http]\nprot = 1\n", "http.prot is not a known setting; did you mean http.port?"),
        ("[http]\nPORT = 1\n", "http.PORT is not a known setting; did you mean http.port?"),
        ("[htpp]\nport = 1\n", "htpp is not a known group of settings; did you mean http?"),
        ("[htpp]\n", "htpp is not a known group of settings; did you mean http?"),
        ("[HTTP]\nport = 1\n", "HTTP is not a known group of settings; did you mean http?"),
        ("[limits_image]\nbytes = 5000\n", "limits_image is not a known group of settings; did you mean limits?"),
    ],
)
def test_a_typo_in_the_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    """Settings and groups, in the form they are written in."""
    with pytest.raises(SettingsError) as caught:
        load(written(tmp_path, text))
    assert str(caught.value) == message


def test_a_name_like_no_other_gets_no_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guess would mislead."""
    monkeypatch.setenv("EFFSERVE_ZZZ", "1")
    with pytest.raises(SettingsError, match=r"^EFFSERVE_ZZZ is not a known environment variable$"):
        load()


@pytest.mark.parametrize("name", sorted(settings.NOT_SETTINGS))
def test_variables_of_the_command_line_are_no_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be set and change nothing."""
    plain = load()
    monkeypatch.setenv(name, "http://elsewhere:1")
    assert load() == plain


def test_other_programs_variables_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the prefix with its underscore is ours."""
    monkeypatch.setenv("EFFSERVER_PORT", "1")
    load()


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("http.port", "abc"),
        ("http.port", "65536"),
        ("http.port", "-1"),
        ("http.keep_alive_s", "inf"),
        ("routing.default_budget_ms", "0"),
        ("routing.default_budget_ms", "nan"),
        ("routing.default_mode", "slow"),
        ("routing.route_untrained", "perhaps"),
        ("routing.miss_rate", "0.5"),
        ("lanes.count", "0"),
        ("tracing.endpoint", "localhost:4317"),
        ("tracing.endpoint", "http://localhost"),
        ("tracing.endpoint", "http://localhost:4317/v1/traces"),
        ("tracing.sample_ratio", "1.5"),
        ("lanes.provider", "gpu"),
        ("limits.patience_ms", "inf"),
        ("limits.image_bytes", "1.5"),
        ("log.format", "xml"),
    ],
)
def test_a_value_that_cannot_be_names_setting_and_value(name: str, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, wherever it came from."""
    group, _, key = name.partition(".")
    with pytest.raises(SettingsError) as by_flag:
        load(overrides={group: {key: given}})
    monkeypatch.setenv(settings.variable(name), given)
    with pytest.raises(SettingsError) as by_environment:
        load()
    for message in (str(by_flag.value), str(by_environment.value)):
        assert message.startswith(f"{name}: ")
        assert given in message
        assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[http]\nport = 70000\n", "http.port: Input should be less than or equal to 65535, got 70000"),
        ("[http.port]\nx = 1\n", r"http.port: .*, got {'x': 1}"),
        (
            "[limits]\npatience_ms = true\n",
            "limits.patience_ms: Value error, true and false are no value of it, got True",
        ),
        ("[log]\nformat = false\n", "log.format: Value error, true and false are no value of it, got False"),
        ("http = 3\n", r"http in .*effserve.toml is not a table; settings stand in tables such as \[http\]"),
        ("port = 3\n", r"port in .*effserve.toml is not a table; settings stand in tables such as \[http\]"),
        ("[http\n", r"the settings file .*effserve.toml is not TOML: .*"),
    ],
)
def test_a_file_that_does_not_make_sense_is_named(text: str, message: str, tmp_path: Path) -> None:
    """With what is wrong, in one line."""
    with pytest.raises(SettingsError, match=f"^{message}$"):
        load(written(tmp_path, text))


def test_a_file_in_another_encoding_is_not_toml(tmp_path: Path) -> None:
    """TOML is UTF-8."""
    path = tmp_path / "effserve.toml"
    path.write_bytes("# größer\n".encode("latin-1"))
    with pytest.raises(SettingsError, match="is not TOML"):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """Asked for by name, so it must be there."""
    with pytest.raises(SettingsError, match=r"cannot read the settings file .*nowhere\.toml: No such file"):
        load(tmp_path / "nowhere.toml")


def test_settings_do_not_change() -> None:
    """Neither groups nor values."""
    loaded = load()
    with pytest.raises(ValidationError):
        loaded.http = settings.Http()  # type: ignore[misc]
    with pytest.raises(ValidationError):
        loaded.http.port = 1  # type: ignore[misc]


def test_folders_follow_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variants are data, measurements are cache."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    loaded = load()
    assert loaded.store.dir == tmp_path / "data/effserve/store"
    assert loaded.calibration.dir == tmp_path / "cache/effserve"


def test_folders_without_xdg_are_below_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG's own defaults."""
    monkeypatch.setenv("HOME", str(tmp_path))
    loaded = load()
    assert loaded.store.dir == tmp_path / ".local/share/effserve/store"
    assert loaded.calibration.dir == tmp_path / ".cache/effserve"


def test_a_service_that_nobody_configured_is_careful() -> None:
    """It listens on this machine only, answers late rather than not, and serves trained weights only."""
    loaded = load()
    assert (loaded.http.host, loaded.grpc.host) == ("127.0.0.1", "127.0.0.1")
    assert loaded.routing.default_mode is Mode.BEST_EFFORT
    assert loaded.routing.route_untrained is False
