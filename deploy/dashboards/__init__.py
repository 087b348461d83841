"""Grafana's dashboards, made from the tables of the code: `python -m deploy.dashboards` writes their JSON.

Queries name metrics by their row in `service.telemetry.table`, and recorded series only when a rule in
`deploy/prometheus/recording.yml` makes them; so a metric that is renamed is renamed here, and one that is gone ends the
generation. What Grafana's JSON looks like is the business of its own types (grafana-foundation-sdk).
"""
