"""Checks of the deployment: what `docker-compose.yml` promises, tried on a real engine."""
