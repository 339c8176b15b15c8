"""`python -m upwell`, for where the script `upwell` is not on the path."""

from upwell.cli import main

if __name__ == "__main__":
    main()
