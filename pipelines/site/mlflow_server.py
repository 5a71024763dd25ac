"""`python -m pipelines.site.mlflow_server HOST PORT FOLDER`: MLflow's server in one process.

`mlflow server` imports the whole of MLflow twice, in a parent and in its one worker: eight seconds and 260 MB more for nothing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(argv: list[str]) -> int:
    """Serve tracking, registry and artifacts from FOLDER (SQLite and files) until SIGTERM."""
    host, port, home = argv[0], int(argv[1]), Path(argv[2])
    store, artifacts = f"sqlite:///{home / 'mlflow.db'}", home / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    os.environ |= {
        # What `mlflow server` hands to its worker.
        "_MLFLOW_SERVER_FILE_STORE": store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(artifacts),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        # Background jobs (online scoring, prompt optimisation) would start several more processes that nothing here uses.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    import uvicorn
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(store, None, "mlflow-artifacts:/")
    uvicorn.run("mlflow.server.fastapi_app:app", host=host, port=port, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
