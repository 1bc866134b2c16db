"""The service beside what its users would build of CTranslate2 and FastAPI: `dqbart bench service --peer`."""
