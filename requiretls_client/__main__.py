"""``python -m requiretls_client``: the ``requiretls`` command."""

import sys

from requiretls_client.cli import main

if __name__ == "__main__":
    sys.exit(main())
