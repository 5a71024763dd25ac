"""Runs the local stack: Airflow, MLflow, Triton, the gateway and the watcher under one supervisor, and its users and secrets."""
