"""`python -m pelton`."""

from pelton.cli import main

if __name__ == "__main__":
    main()
