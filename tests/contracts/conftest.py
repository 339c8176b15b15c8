"""What holds for all tests of contracts."""

from hypothesis import settings

# Machines that run the tests are shared: how long an example takes says nothing.
settings.register_profile("contracts", deadline=None)
settings.load_profile("contracts")
