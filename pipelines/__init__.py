"""Ratchet's library: plain Python, never imports Airflow. The tree with a phrase per file is in README.md."""
