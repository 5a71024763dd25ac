"""Makes the two environments: `.venv` (Airflow, training, MLflow, tests) and `.venv-triton` (what runs inside Triton, numpy < 2).

    python3 scripts/setup.py

Uses the standard library only, and syntax that older Pythons parse, so that a Python that is too old gets a sentence and not a
SyntaxError. Each environment is stamped with the hash of its lock when it is complete: an interrupted set-up starts over where it was,
a finished one returns at once.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TORCH = "torch==2.13.0"
NEEDED_GB = 8


def main():
    began = time.time()
    check_python()
    check_disk()
    check_compiler()
    serving_pins = os.path.join(ROOT, "docker", "triton", "requirements.txt")
    ensure(".venv", [os.path.join(ROOT, "requirements.txt"), os.path.join(ROOT, "requirements-dev.txt")])
    ensure(".venv-triton", [serving_pins])
    stub(os.path.join(ROOT, ".venv-triton"))
    print("set-up complete in %d s" % (time.time() - began))


def check_python():
    if sys.version_info[:2] != (3, 11):
        stop("Python %d.%d runs this, and 3.11 is needed" % sys.version_info[:2], "make PYTHON=python3.11 setup")
    folder = os.environ.get("RATCHET_LIBPYTHON_DIR") or sysconfig.get_config_var("LIBDIR") or ""
    if not any(name.startswith("libpython3.11.so") for name in (os.listdir(folder) if os.path.isdir(folder) else [])):
        stop(
            "libpython3.11.so is not in %s, and Triton's Python backend loads it" % (folder or "any known folder"),
            "install it (Debian: apt install libpython3.11), build Python with --enable-shared, or set RATCHET_LIBPYTHON_DIR",
        )


def check_disk():
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < NEEDED_GB and not os.path.exists(os.path.join(ROOT, ".venv-triton", ".complete")):
        stop("%.1f GB free below %s, and set-up needs %d" % (free, ROOT, NEEDED_GB), "make room, or put the checkout on another disk")


def check_compiler():
    if shutil.which("gcc") is None:
        stop("gcc is not on PATH", "install a C compiler (Debian: apt install gcc)")


def ensure(name, locks):
    folder = os.path.join(ROOT, name)
    stamp = os.path.join(folder, ".complete")
    wanted = hashlib.sha256(b"".join(open(lock, "rb").read() for lock in locks) + TORCH.encode()).hexdigest()
    if os.path.exists(stamp) and open(stamp).read() == wanted:
        print("%s is up to date" % name)
        return
    if os.path.exists(stamp):
        os.remove(stamp)
    python = os.path.join(folder, "bin", "python")
    if not works(python):
        shutil.rmtree(folder, ignore_errors=True)
        run("making %s" % name, [sys.executable, "-m", "venv", folder])
    # pip for torch: it takes a local CPU build where the machine offers one; uv, ten times as fast, for the rest. The locks are
    # whole, so nothing is resolved and nothing unpinned can slip in.
    run("%s: torch" % name, [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "uv", TORCH])
    uv = [python, "-m", "uv", "pip", "install", "-q", "--no-deps", "-p", python]
    arguments = [part for lock in locks for part in ("-r", lock)]
    run("%s: the pinned packages" % name, [*uv, *arguments])
    if name == ".venv":
        run("%s: ratchet itself" % name, [*uv, "-e", ROOT])
    with open(stamp + ".tmp", "w") as file:
        file.write(wanted)
    os.rename(stamp + ".tmp", stamp)


def stub(folder):
    """Put the stub of this Python where the server looks for it: the wheel keeps it elsewhere."""
    server = os.path.join(folder, "lib", "python3.11", "site-packages", "pytriton", "tritonserver")
    target = os.path.join(server, "backends", "python", "triton_python_backend_stub")
    if not os.path.exists(target):
        shutil.copy2(os.path.join(server, "python_backend_stubs", "3.11", "triton_python_backend_stub"), target + ".tmp")
        os.rename(target + ".tmp", target)


def works(python):
    try:
        return subprocess.call([python, "-m", "pip", "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def run(what, command):
    print("%s ..." % what, flush=True)
    began = time.time()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        tail = done.stdout.decode("utf-8", "replace").strip().splitlines()[-12:]
        print("\n".join(tail), file=sys.stderr)
        stop("%s failed" % what, "read the lines above, then run the same command again: it goes on from here")
    print("%s: %d s" % (what, time.time() - began), flush=True)


def stop(what, todo):
    print("ratchet set-up: %s (%s)" % (what, todo), file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
