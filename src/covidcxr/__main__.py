"""``python -m covidcxr``."""

from covidcxr.cli import main

if __name__ == "__main__":
    main()
