-- Run once, in an empty cluster, by the official image. The control database itself is POSTGRES_DB.
CREATE DATABASE airflow;
CREATE DATABASE mlflow;
