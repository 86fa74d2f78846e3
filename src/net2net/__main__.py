"""`python -m net2net`: the command line."""

from net2net.cli import main

if __name__ == "__main__":
    main()
