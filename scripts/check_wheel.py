"""Build the wheel, install it into an empty environment outside the checkout, serve the demo from it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import urllib.request
import venv
from pathlib import Path
from socket import create_server

ROOT = Path(__file__).resolve().parent.parent


def build(folder: Path) -> Path:
    """The wheel, built from the source distribution, so that both are proved complete."""
    # setuptools would pack modules from there that are no longer in the tree.
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    subprocess.run([sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """The Python of a new environment that holds the wheel and its dependencies."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, f"{wheel}[all]"], check=True)
    return python


def serve(python: Path, folder: Path) -> None:
    """Run the demo from a copy of the example and fetch the sign-in page and a static file."""
    project = folder / "chat"
    shutil.copytree(ROOT / "examples" / "chat", project, ignore=shutil.ignore_patterns("*.sqlite3*", "media"))
    shutil.copy(ROOT / "scripts" / "demo.py", folder)
    with create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [str(python), "demo.py", "--project", str(project), "--data", str(folder / "data")]
    demo = subprocess.Popen(
        [*command, "--port", str(port)], cwd=folder, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        for line in demo.stdout or ():
            sys.stdout.write(line)
            if "The chat is at" in line:
                break
        for path in ("/sign-in/", "/static/chat/chat.css"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
                sys.stdout.write(f"{path}: {answer.status}, {len(answer.read())} bytes\n")
    finally:
        demo.terminate()
        demo.communicate(timeout=60)
    if demo.returncode:
        raise SystemExit(f"the demo ended with status {demo.returncode}")


def main() -> None:
    """Build, install, serve; an error ends the program with a status of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = install(build(folder), folder / "environment")
        serve(python, folder)


if __name__ == "__main__":
    main()
