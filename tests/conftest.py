"""What every test shares: property tests fail for a wrong value, never for a slow machine."""

from hypothesis import settings

settings.register_profile("dqbart", deadline=None)
settings.load_profile("dqbart")
