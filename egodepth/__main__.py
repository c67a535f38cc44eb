"""`python -m egodepth`."""

from egodepth.cli import main

main()
