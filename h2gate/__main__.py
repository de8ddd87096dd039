"""`python -m h2gate` is `h2gate`."""

from h2gate.cli import main

if __name__ == "__main__":
    main()
