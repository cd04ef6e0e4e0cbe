"""Looking into models from outside."""
