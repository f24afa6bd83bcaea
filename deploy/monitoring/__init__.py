"""What watches the platform: Prometheus' configuration and alert rules, Grafana's provisioning, Celery Flower."""
