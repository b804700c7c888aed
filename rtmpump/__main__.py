"""`python -m rtmpump` is `rtmpump`."""

from rtmpump.cli import main

if __name__ == "__main__":
    main(prog_name="rtmpump")
