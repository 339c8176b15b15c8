import os
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict

from upwell_shared.settings import CommonSettings, Dsn, ServiceSettings, load_settings

SECRET = "kingfisher"
ADDRESS = f"postgresql://owner:{SECRET}@db.example:5432/matching?password={SECRET}"


class MatchingSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="UPWELL_MATCHING_")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("UPWELL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UPWELL_MATCHING_DATABASE_URL", ADDRESS)
    return monkeypatch


def problems(capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as exit_:
        load_settings(MatchingSettings)
    assert exit_.value.code == 2
    return capsys.readouterr().err.splitlines()


def test_a_database_is_all_a_service_has_to_be_told() -> None:
    settings = load_settings(MatchingSettings)
    assert settings.database_url.reveal() == ADDRESS
    assert (settings.host, settings.env, settings.clock_file) == ("127.0.0.1", "local", None)


def test_a_common_variable_holds_for_every_service_and_an_own_one_wins(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("UPWELL_KAFKA_BOOTSTRAP", "kafka:9092")
    assert load_settings(MatchingSettings).kafka_bootstrap == "kafka:9092"
    environment.setenv("UPWELL_MATCHING_KAFKA_BOOTSTRAP", "other:9092")
    assert load_settings(MatchingSettings).kafka_bootstrap == "other:9092"
    assert load_settings(CommonSettings).kafka_bootstrap == "kafka:9092"


def test_a_database_is_never_common(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.delenv("UPWELL_MATCHING_DATABASE_URL")
    environment.setenv("UPWELL_DATABASE_URL", ADDRESS)
    assert problems(capsys) == ["UPWELL_MATCHING_DATABASE_URL: is missing"]


def test_every_problem_has_its_line_and_no_line_a_value(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("UPWELL_MATCHING_DATABASE_URL", SECRET)
    environment.setenv("UPWELL_MATCHING_PORT", SECRET)
    environment.setenv("UPWELL_MATCHING_HOTS", SECRET)
    environment.setenv("UPWELL_LOG_LEVEL", SECRET)
    lines = problems(capsys)
    assert sorted(line.partition(":")[0] for line in lines) == [
        "UPWELL_LOG_LEVEL",
        "UPWELL_MATCHING_DATABASE_URL",
        "UPWELL_MATCHING_HOTS",
        "UPWELL_MATCHING_PORT",
    ]
    assert SECRET not in "".join(lines)


def test_a_simulated_clock_is_refused_in_production(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    environment.setenv("UPWELL_CLOCK_FILE", str(tmp_path / "clock"))
    assert load_settings(MatchingSettings).clock_file == tmp_path / "clock"
    environment.setenv("UPWELL_ENV", "production")
    (line,) = problems(capsys)
    assert line.startswith("UPWELL_CLOCK_FILE: a simulated clock is refused")


def test_a_session_must_outlast_a_late_heartbeat(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("UPWELL_CONSUMER_SESSION_MS", "1000")
    (line,) = problems(capsys)
    assert line.startswith("UPWELL_CONSUMER_HEARTBEAT_MS: must be at most half")


def test_settings_cannot_be_changed() -> None:
    settings = load_settings(MatchingSettings)
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc] # this is the point


def test_a_password_shows_nowhere_but_where_it_is_asked_for() -> None:
    settings = load_settings(MatchingSettings)
    shown = (
        f"{settings!r} {settings} {settings.database_url} {settings.database_url!r} {settings.model_dump()}"
    )
    assert SECRET not in shown
    assert "postgresql://owner@db.example:5432/matching" in shown
    assert Dsn(ADDRESS) == settings.database_url
