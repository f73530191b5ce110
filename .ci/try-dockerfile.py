"""Carries out a Dockerfile's steps in clean folders, for machines without a Docker engine:  try-dockerfile.py DOCKERFILE

Every stage gets an empty folder as its root. COPY takes tracked and new files of the checkout that the dockerignore file
lets through, or files of an earlier stage; RUN runs its command line with sh in the stage's WORKDIR. Then the last
stage's ENTRYPOINT and CMD are started with free ports, its HEALTHCHECK has to pass within a minute, and SIGTERM has to
end it with status 0. Absolute paths of the image are rewritten into the stage's folder. What this does not show: users,
mounts, and the base image's own packages.
"""

import fnmatch
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
PORTS = {"SWITCHYARD_HTTP_PORT", "SWITCHYARD_GRPC_PORT", "SWITCHYARD_METRICS_PORT", "SWITCHYARD_ADMIN_PORT"}


def instructions(text):
    text = re.sub(r"(?m)^\s*#.*\n", "", text)
    text = re.sub(r"\\\n", " ", text)
    for line in text.splitlines():
        if line.strip():
            keyword, _, rest = line.strip().partition(" ")
            yield keyword.upper(), rest.strip()


def context_files(ignore_file):
    """Files the build context holds: the last matching pattern decides, `!` lets through."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    patterns = [p.strip() for p in ignore_file.read_text().splitlines() if p.strip() and not p.startswith("#")]

    def sent(name):
        ignored = False
        parts = PurePosixPath(name).parts
        prefixes = ["/".join(parts[: i + 1]) for i in range(len(parts))]
        for pattern in patterns:
            keep, bare = pattern.startswith("!"), pattern.lstrip("!")
            candidates = [bare, bare[3:]] if bare.startswith("**/") else [bare]
            if any(fnmatch.fnmatch(prefix, candidate) for prefix in prefixes for candidate in candidates):
                ignored = not keep
        return not ignored

    return [name for name in listed if sent(name) and (ROOT / name).is_file()]


class Stage:
    def __init__(self, folder):
        self.root = folder
        self.root.mkdir(parents=True)
        self.workdir = PurePosixPath("/")
        self.env = {}
        self.facts = {}

    def path(self, inside):
        return self.root / str(self.workdir / inside).lstrip("/")

    def rewrite(self, text):
        """Paths of the image, where an argument is one, become paths of the stage's folder."""
        return str(self.root) + text if re.match(r"^/(app|data|models)(/|$)", text) else text

    def run(self, command):
        print(f"  RUN {command}", flush=True)
        start = time.monotonic()
        environment = {**os.environ, **self.env}
        subprocess.run(["sh", "-ec", command], cwd=self.path("."), env=environment, check=True)
        print(f"      {time.monotonic() - start:.1f} s", flush=True)


def copy(stage, stages, files, rest):
    words = rest.split()
    options = {w.split("=")[0]: w.split("=")[1] for w in words if w.startswith("--")}
    *sources, target = [w for w in words if not w.startswith("--")]
    into = stage.path(target)
    for source in sources:
        if "--from" in options:
            origin = stages[options["--from"]].path(source)
            if origin.is_dir():
                shutil.copytree(origin, into, symlinks=True, dirs_exist_ok=True)
            else:
                place(origin, into / origin.name if target.endswith("/") else into)
            continue
        chosen = [name for name in files if name == source or name.startswith(f"{source}/")]
        if not chosen:
            sys.exit(f"COPY {source}: the build context does not hold it")
        for name in chosen:
            inner = name[len(source) + 1 :]
            place(ROOT / name, into / (inner or Path(name).name) if inner or target.endswith("/") else into)


def place(origin, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(origin, target)


def try_out(stage):
    for needed in ("ENTRYPOINT", "CMD", "HEALTHCHECK", "USER"):
        if needed not in stage.facts:
            sys.exit(f"the last stage has no {needed}")
    if stage.facts["USER"].split(":")[0] in ("root", "0"):
        sys.exit("the last stage runs as root")
    command = [stage.rewrite(w) for w in json.loads(stage.facts["ENTRYPOINT"]) + json.loads(stage.facts["CMD"])]
    check = [stage.rewrite(w) for w in json.loads(stage.facts["HEALTHCHECK"].partition(" CMD ")[2])]
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    environment = {**os.environ, **stage.env}
    for name, held in zip(sorted(PORTS), sockets):
        environment[name] = str(held.getsockname()[1])
        held.close()
    server = subprocess.Popen(command, cwd=stage.path("."), env=environment)
    try:
        deadline = time.monotonic() + 60
        while subprocess.run(check, env=environment).returncode != 0:
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit("the health check did not pass within a minute")
            time.sleep(0.2)
        print("  HEALTHCHECK passes", flush=True)
        server.send_signal(signal.SIGTERM)
        status = server.wait(timeout=60)
        if status != 0:
            sys.exit(f"SIGTERM ended it with status {status}")
    finally:
        server.kill()


def main(dockerfile):
    files = context_files(dockerfile.with_name(dockerfile.name + ".dockerignore"))
    stages, stage = {}, None
    with tempfile.TemporaryDirectory() as temporary:
        for keyword, rest in instructions(dockerfile.read_text()):
            if keyword == "FROM":
                base, _, name = rest.partition(" AS ")
                stage = stages[name or "last"] = Stage(Path(temporary) / str(len(stages)))
                print(f"stage {name or 'last'} from {base}")
            elif keyword == "WORKDIR":
                stage.workdir = stage.workdir / rest
                stage.path(".").mkdir(parents=True, exist_ok=True)
            elif keyword == "ENV":
                stage.env.update(part.split("=", 1) for part in rest.split())
            elif keyword == "COPY":
                copy(stage, stages, files, rest)
            elif keyword == "RUN":
                stage.run(rest)
            else:
                stage.facts[keyword] = rest
        try_out(stage)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
