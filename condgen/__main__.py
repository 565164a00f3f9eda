"""`python -m condgen`, which launchers of many processes need."""

from condgen.cli import main

main()
