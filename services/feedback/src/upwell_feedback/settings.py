"""What feedback is told by its environment."""

from pydantic_settings import SettingsConfigDict

from upwell_shared.settings import ServiceSettings


class FeedbackSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="UPWELL_FEEDBACK_")
