"""Runs the local stack: Airflow, MLflow, Triton and the gateway under one supervisor, and its users and secrets."""
