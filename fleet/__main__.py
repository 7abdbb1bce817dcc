"""`python -m fleet` is `fleet`."""

from fleet.cli.main import main

if __name__ == "__main__":
    main()
