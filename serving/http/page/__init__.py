"""The page at / to try the models, and the documentation at /docs."""
