"""A small HTTP server that speaks the shapes of the Kubernetes API for Jobs, and, if asked to, runs their pods as processes here.

It is not a cluster: it knows names, uids, 201/404/409, preconditions, foreground deletion and status conditions, and checks every object
against the API's own schema. Scheduling, images, volumes, DNS and security contexts are not tested by it.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

VERSION = "1.34"


class Cluster:
    """What the server knows. `jobs` by name; `conditions`, `pods` are what a test wants to be seen."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.services: dict[str, dict[str, Any]] = {}
        self.pods: list[dict[str, Any]] = []
        self.log: list[str] = []
        self.created = 0
        self.drop_answers = 0
        self.refuse_reads = 0
        self.reads_until_gone = 1
        self.kubelet = False
        self.running: dict[str, list[subprocess.Popen[bytes]]] = {}

    def end(self, name: str, kind: str, reason: str, message: str = "") -> None:
        """The Job's controller sets its last condition."""
        condition = {"type": kind, "status": "True", "reason": reason, "message": message}
        self.jobs[name]["status"] = {"conditions": [condition], "ready": 0}

    def settle(self) -> None:
        """What a controller does between two looks: finished pods finish their Job, one failed pod fails it."""
        for name, pods in self.running.items():
            codes = [pod.poll() for pod in pods]
            if name not in self.jobs or self.jobs[name]["status"].get("conditions"):
                continue
            if any(code not in (None, 0) for code in codes):
                for pod in pods:
                    pod.kill()
                self.end(name, "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
            elif all(code == 0 for code in codes):
                self.end(name, "Complete", "CompletionsReached")
            else:
                self.jobs[name]["status"] = {"active": len(pods), "ready": len(pods)}

    def run(self, job: dict[str, Any]) -> None:
        """Each pod as a process, with the environment its manifest gives it; its DNS name is this host."""
        name, spec = job["metadata"]["name"], job["spec"]
        container = spec["template"]["spec"]["containers"][0]
        env = {item["name"]: item["value"] for item in container["env"] if "value" in item}
        env |= {"RATCHET_HEAD": "127.0.0.1", "RATCHET_ADDRESS": "127.0.0.1", "RATCHET_SUBMISSION": job["metadata"]["uid"]}
        base = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        self.running[name] = [
            subprocess.Popen(container["command"], cwd=container["workingDir"], env=base | env | {"JOB_COMPLETION_INDEX": str(index)})
            for index in range(spec["completions"])
        ]


@contextmanager
def serving(home: Path) -> Iterator[tuple[Cluster, Path]]:
    """The cluster and a kubeconfig that leads to it."""
    cluster, lock = Cluster(), threading.RLock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self._body()
            kubernetes_validate.validate(body, VERSION, strict=True)
            with lock:
                kept = cluster.jobs if "/jobs" in self.path else cluster.services
                name = body["metadata"]["name"]
                cluster.log.append(f"POST {body['kind']}")
                if name in kept:
                    return self._answer(409, {"kind": "Status", "status": "Failure", "reason": "AlreadyExists", "code": 409})
                cluster.created += 1
                body["metadata"] |= {"uid": f"uid-{cluster.created}", "creationTimestamp": "2026-11-27T03:00:00Z"}
                kept[name] = body | {"status": {}}
                if body["kind"] == "Job" and cluster.kubelet:
                    cluster.run(body)
                if body["kind"] == "Job" and cluster.drop_answers:
                    cluster.drop_answers -= 1
                    return self._answer(504, {"kind": "Status", "status": "Failure", "reason": "Timeout", "code": 504})
                self._answer(201, kept[name])

        def do_GET(self) -> None:
            with lock:
                cluster.settle()
                if cluster.refuse_reads:
                    return self._answer(cluster.refuse_reads, {"kind": "Status", "status": "Failure", "code": cluster.refuse_reads})
                if "/pods" in self.path:
                    return self._answer(200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": cluster.pods})
                name = self.path.split("?")[0].rsplit("/", 1)[1]
                found = cluster.jobs.get(name)
                if found is not None and "deletionTimestamp" in found["metadata"]:
                    cluster.reads_until_gone -= 1
                    if cluster.reads_until_gone < 0:
                        del cluster.jobs[name]
                        found = None
                self._answer(200, found) if found else self._answer(404, {"kind": "Status", "status": "Failure", "code": 404})

        def do_DELETE(self) -> None:
            body, name = self._body(), self.path.split("?")[0].rsplit("/", 1)[1]
            with lock:
                cluster.log.append(f"DELETE {body['propagationPolicy']}")
                found = cluster.jobs.get(name)
                if found is None:
                    return self._answer(404, {"kind": "Status", "status": "Failure", "code": 404})
                if body["preconditions"]["uid"] != found["metadata"]["uid"]:
                    return self._answer(409, {"kind": "Status", "status": "Failure", "reason": "Conflict", "code": 409})
                found["metadata"]["deletionTimestamp"] = "2026-11-27T03:01:00Z"
                for pod in cluster.running.get(name, []):
                    pod.terminate()
                self._answer(200, found)

        def _body(self) -> Any:
            return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, status: int, body: Any) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    here = {"cluster": "here", "user": "me", "namespace": "ratchet"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": here}],
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "me", "user": {}}],
    }
    path = home / "kubeconfig"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    try:
        yield cluster, path
    finally:
        for pods in cluster.running.values():
            for pod in pods:
                pod.kill()
                pod.wait()
        server.shutdown()
        server.server_close()
        thread.join()
