"""What sessions are told by their environment."""

from pydantic_settings import SettingsConfigDict

from upwell_shared.settings import ServiceSettings


class SessionsSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="UPWELL_SESSIONS_")
