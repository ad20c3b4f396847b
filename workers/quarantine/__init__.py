"""Finding the requests that end workers, and keeping them from ending more."""
