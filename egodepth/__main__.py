"""`python -m egodepth`."""

from egodepth.cli.main import main

main()
