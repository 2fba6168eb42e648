"""`reuseport generate`: files that run us under somebody else's care, rendered from the command line.

order       what is asked for: application, flags, and the times that add up
carried     flags as words of a command line, for each place that takes one
rendering   templates with @{names}, and files
systemd     unit, drop-ins, socket unit, sysctl
containers  Dockerfile, compose, Kubernetes, Nomad
proxies     HAProxy and nginx in front

Beside them: grafana-dashboard.json and alerts.yml.
"""
