"""`python -m deploy.dashboards`."""

import sys

from deploy.dashboards.generate import main

sys.exit(main())
