"""The scheduling benchmark: published rules and the service's own, each tuned, on the same simulated traffic.

`cells` says what is offered, `contest` who takes part, `tuning` how parameters are found, `measure` plays one cell,
`goals` judges, `page` shows. What is written is a `service.simulation.study.Study`.
"""
