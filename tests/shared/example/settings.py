"""What the example is told by its environment."""

from pydantic_settings import SettingsConfigDict

from upwell_shared.settings import ServiceSettings


class ExampleSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="UPWELL_EXAMPLE_")

    owner: str = "example"
    """Whose channels these are; a test that shares a broker takes a name of its own."""
