"""Equal requests share one generation, across workers too."""
