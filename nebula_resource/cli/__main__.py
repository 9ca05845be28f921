"""Entry: ``python -m nebula_resource.cli`` is ``nebula``."""

from nebula_resource.cli import main

main()
