"""The pages of reference in `docs/`, written from the code they describe. `make reference` writes them."""
