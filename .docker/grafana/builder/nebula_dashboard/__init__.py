"""The dashboard of nebula-resource, built in code: ``python -m nebula_dashboard`` writes the JSON that Grafana reads."""
