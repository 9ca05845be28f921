"""Write the dashboard where compose's Grafana finds it: ``make dashboard``."""

from nebula_dashboard.dashboard import FILE, text

FILE.write_text(text())
