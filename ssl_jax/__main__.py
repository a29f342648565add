"""`python -m ssl_jax` is `ssl-jax`."""

import sys

from ssl_jax.cli import main

sys.exit(main())
