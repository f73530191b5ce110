/** Exit codes of the agent for its own failures; a line that begins with FAILED says what failed. */
export const EXIT_FINAL = 125;
export const EXIT_PASSING = 75;
export const FAILED = 'switchyard: failed: ';
export const NEXT_STEP = 'switchyard: next step: ';

/** Name of the program and of its plan, which lie in one folder. */
export const AGENT_FILE = 'attempt.py';
export const PLAN_FILE = 'plan.json';

/**
 * Starts the agent in `folder` with the job's command as its arguments, by any POSIX shell. Where there is no Python it
 * says so in the agent's words.
 */
export function launchScript(folder: string): string {
  const version = 'import sys; sys.exit(sys.version_info < (3, 8))';
  return [
    `if python3 -c '${version}' 2>/dev/null; then exec python3 ${folder}/${AGENT_FILE} "$@"; fi`,
    `echo '${FAILED}there is no python3 of at least 3.8, which brings inputs and environments and takes outputs and checkpoints away'`,
    `echo '${NEXT_STEP}take an image with python3, or leave inputs, outputs, requirements and checkpoint out'`,
    `exit ${EXIT_FINAL}`,
  ].join('\n');
}

/**
 * The program that runs in a container or on a node of a cluster, around the job's command: it brings inputs, environment
 * and checkpoint, passes signals on, and takes outputs and checkpoint away. Python's standard library only. What it needs
 * to know lies beside it in plan.json (plan.ts); what is secret comes in its environment.
 */
export const AGENT = String.raw`"""Runs one attempt of a Switchyard job: attempt.py COMMAND [ARGUMENT...]"""
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

FINAL, PASSING = 125, 75
TIMEOUT = 60
CHUNK = 1 << 20
HERE = os.path.dirname(os.path.abspath(__file__))
WORK = os.getcwd()
OWN = os.path.join(WORK, ".switchyard")


class Failure(Exception):
    def __init__(self, reason, next_step="", passing=False):
        super().__init__(reason)
        self.next_step = next_step
        self.passing = passing


def say(text):
    print("switchyard: " + text, flush=True)


class Registry:
    """The server, by its REST. Calls are tried again while that may help."""

    def __init__(self, uri, token, certificate, patience):
        self.patience = patience
        self.uri = uri.rstrip("/")
        self.headers = {} if not token else {"Authorization": "Bearer " + token}
        self.context = None
        if self.uri.startswith("https:"):
            import ssl

            self.context = ssl.create_default_context(cafile=certificate)

    def call(self, method, path, body, headers, use):
        """use gets the answer; a path as body is sent as that file."""
        until = time.monotonic() + self.patience
        pause = 0.5
        while True:
            try:
                data = open(body, "rb") if isinstance(body, str) else body
                request = urllib.request.Request(
                    self.uri + path, data=data, method=method, headers={**self.headers, **headers}
                )
                try:
                    with urllib.request.urlopen(request, timeout=TIMEOUT, context=self.context) as answer:
                        return use(answer)
                finally:
                    if isinstance(body, str):
                        data.close()
            except urllib.error.HTTPError as error:
                text = error.read(2000).decode("utf-8", "replace")
                problem = "the server answered %d: %s" % (error.code, text[:300].replace("\n", " "))
                if error.code < 500 and error.code not in (408, 429):
                    raise Failure(problem)
            except (OSError, ValueError, http.client.HTTPException) as error:
                problem = "the server at %s cannot be reached: %s" % (self.uri, error)
            except EOFError:
                problem = "the bytes that came are not those that were asked for"
            if time.monotonic() + pause > until:
                break
            time.sleep(pause)
            pause = min(pause * 2, 10)
        raise Failure(problem, "retry the job when the server is reachable from the cluster", True)

    def fetch(self, entry, path):
        """Brings a blob by its digest, and checks what came."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        draft = path + ".part"

        def use(answer):
            digest = hashlib.sha256()
            with open(draft, "wb") as file:
                while True:
                    chunk = answer.read(CHUNK)
                    if not chunk:
                        break
                    digest.update(chunk)
                    file.write(chunk)
            if "sha256:" + digest.hexdigest() != entry["digest"]:
                raise EOFError()

        self.call("GET", "/api/v1/registry/blobs/" + entry["digest"], None, {}, use)
        os.replace(draft, path)

    def store(self, path, artifact):
        with open(path, "rb") as file:
            digest = hashlib.sha256()
            while True:
                chunk = file.read(CHUNK)
                if not chunk:
                    break
                digest.update(chunk)
        size = os.path.getsize(path)
        headers = {
            "Content-Length": str(size),
            "Content-Type": "application/octet-stream",
            "X-Content-SHA256": digest.hexdigest(),
        }
        place = "/api/2.0/mlflow-artifacts/artifacts/" + urllib.parse.quote(artifact)
        self.call("PUT", place, path if size > 0 else b"", headers, lambda answer: answer.read())


def bring(registry, what, root, files):
    for entry in files:
        try:
            registry.fetch(entry, os.path.join(root, entry["path"]) if entry["path"] else root)
        except Failure as failure:
            raise Failure("%s: %s" % (what, failure), failure.next_step, failure.passing)
    if files:
        say("%s: %d files" % (what, len(files)))


def bring_checkpoint(registry, path, files):
    """A folder that outlived the attempt before is newer than what was stored."""
    target = os.path.join(WORK, path)
    os.makedirs(target, exist_ok=True)
    if not os.listdir(target):
        bring(registry, "checkpoint", target, files)


def run_quietly(arguments, timeout):
    """Returns the code and the end of what it printed."""
    try:
        done = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return 1, "it took longer than %d s" % timeout
    return done.returncode, done.stdout.decode("utf-8", "replace")[-20000:]


PASSES = re.compile(
    r"timed? ?out|Connection (reset|refused|aborted|broken)|Temporary failure|Max retries|Network is unreachable|"
    r"\b50[234]\b|No space left",
    re.I,
)


def build(target, requirements, options, timeout):
    code, output = run_quietly([sys.executable, "-m", "pip", "--version"], 60)
    match = re.search(r"^pip (\d+)\.(\d+)", output, re.M) if code == 0 else None
    modern = match is not None and (int(match.group(1)), int(match.group(2))) >= (22, 3)
    code, output = run_quietly(
        [sys.executable, "-m", "venv"] + (["--without-pip"] if modern else []) + [target], timeout
    )
    if code != 0:
        print(output[-3000:], flush=True)
        reason = "the virtual environment could not be made by %s" % sys.executable
        raise Failure(reason, "take an image whose python3 has its venv module and pip")
    listed = os.path.join(target, "requirements.txt")
    with open(listed, "w") as file:
        file.write(requirements + "\n")
    python = os.path.join(target, "bin", "python")
    pip = [sys.executable, "-m", "pip", "--python", python] if modern else [python, "-m", "pip"]
    pip += ["--disable-pip-version-check", "--no-input", "install"]
    code, output = run_quietly(pip + options + ["-r", listed], timeout)
    if code == 0:
        return
    print(output[-3000:], flush=True)
    lines = [line.strip() for line in output.splitlines() if "error" in line.lower()] or ["exit code %d" % code]
    reason = "the requirements could not be installed: " + lines[-1][:300]
    raise Failure(reason, "correct spec.environment.requirements", PASSES.search(output) is not None)


def private_folder(path):
    """A folder of this user's own: others could put programs into any other."""
    os.makedirs(path, mode=0o700, exist_ok=True)
    info = os.lstat(path)
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o022:
        raise Failure("%s is not a folder of this user's own" % path, "remove it from the node")
    return path


def collect(folder, keep_seconds):
    for name in os.listdir(folder):
        link = os.path.join(folder, name)
        if not os.path.islink(link):
            continue
        try:
            target = os.readlink(link)
            if time.time() - os.path.getmtime(os.path.join(target, ".used")) > keep_seconds:
                os.unlink(link)
                shutil.rmtree(target, ignore_errors=True)
        except OSError:
            pass


def provide(wanted, options):
    """The folder of a virtual environment with the requirements: one that is kept on this node, or a new one."""
    if wanted["kept"]:
        folder = os.path.join(tempfile.gettempdir(), "switchyard-environments-%d" % os.getuid())
    else:
        folder = os.path.join(OWN, "environments")
    private_folder(folder)
    lines = [re.sub(r"(^|\s)#.*$", "", line).strip() for line in wanted["requirements"].splitlines()]
    lines = [line for line in lines if line]
    if not any(line.endswith("\\") for line in lines):
        lines = sorted(set(lines))
    facts = [lines, sys.version.split()[0], sys.implementation.name, sysconfig.get_platform(), sys.executable, options]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    link = os.path.join(folder, key)
    if not os.path.exists(os.path.join(link, "bin", "python")):
        collect(folder, wanted["keepSeconds"])
        target = tempfile.mkdtemp(prefix="build-", dir=folder)
        try:
            build(target, wanted["requirements"], options, wanted["timeoutSeconds"])
            open(os.path.join(target, ".used"), "w").close()
            draft = target + ".link"
            os.symlink(target, draft)
            os.replace(draft, link)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
    target = os.path.realpath(link)
    os.utime(os.path.join(target, ".used"))
    return target


def look(path):
    """What is at a path of the work folder, if every folder on the way is a real one."""
    at = WORK
    parts = path.split("/")
    for index, part in enumerate(parts):
        at = os.path.join(at, part)
        try:
            mode = os.lstat(at).st_mode
        except OSError:
            return "missing"
        if stat.S_ISLNK(mode):
            return "link"
        if index == len(parts) - 1:
            return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "missing"
    return "missing"


def store_tree(registry, path, artifact):
    """Files and folders; links may lead anywhere and are left out. Returns how many files."""
    mode = os.lstat(path).st_mode
    if stat.S_ISREG(mode):
        registry.store(path, artifact)
        return 1
    if not stat.S_ISDIR(mode):
        return 0
    return sum(store_tree(registry, os.path.join(path, name), artifact + "/" + name) for name in sorted(os.listdir(path)))


def take_outputs(registry, plan):
    for output in plan["outputs"]:
        name, path = output["name"], output["path"]
        found = look(path)
        if found == "missing" and output["optional"]:
            continue
        where = "output %s: " % json.dumps(name)
        if found == "missing":
            reason = "%sit has not written %s" % (where, json.dumps(path))
            raise Failure(reason, "let the job write it, or mark the output as optional")
        if found == "link":
            raise Failure("%s%s is a link or behind one" % (where, json.dumps(path)), "write a file or folder")
        target = plan["root"] + "/" + name + ("" if found == "folder" else "/" + os.path.basename(path))
        say("%s%d files" % (where, store_tree(registry, os.path.join(WORK, path), target)))


def take_checkpoint(registry, plan):
    """Into a folder of its own, named last: one that was cut off on the way is none."""
    checkpoint = plan["checkpoint"]
    folder = os.path.join(WORK, checkpoint["path"])
    if not os.path.isdir(folder) or os.path.islink(folder) or not os.listdir(folder):
        return
    name = "%d-%s" % (plan["attempt"], os.urandom(4).hex())
    count = store_tree(registry, folder, checkpoint["stored"] + "/" + name)
    if count == 0:
        return
    os.makedirs(OWN, exist_ok=True)
    latest = os.path.join(OWN, "latest")
    with open(latest, "w") as file:
        file.write(name)
    registry.store(latest, checkpoint["stored"] + "/latest")
    say("checkpoint: %d files stored" % count)


try:
    import ctypes

    LIBC = ctypes.CDLL(None)
except (ImportError, OSError):
    LIBC = None


def die_with_me():
    """Linux ends the command when this program is killed."""
    if hasattr(LIBC, "prctl"):
        LIBC.prctl(1, signal.SIGKILL)


class Command:
    """The job's own process and its signals."""

    def __init__(self, plan):
        self.plan = plan
        self.child = None
        self.ended_at = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.on_signal)

    def on_signal(self, number, _frame):
        if self.child is None:
            sys.exit(128 + number)
        if self.ended_at is None:
            self.ended_at = time.monotonic()
            if self.plan["passSignals"]:
                self.kill(number)

    def kill(self, number):
        try:
            os.killpg(self.child.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    def run(self, arguments, environment):
        try:
            self.child = subprocess.Popen(arguments, env=environment, start_new_session=True, preexec_fn=die_with_me)
        except (FileNotFoundError, PermissionError, NotADirectoryError):
            where = "in the work folder, or may not be executed" if "/" in arguments[0] else "in PATH"
            reason = "%s was not found %s" % (json.dumps(arguments[0]), where)
            raise Failure(reason, "correct spec.command, or put the program into the image or spec.files")
        while True:
            try:
                code = self.child.wait(0.2 if self.ended_at is not None else 1)
                break
            except subprocess.TimeoutExpired:
                if self.ended_at is not None and time.monotonic() - self.ended_at > self.plan["graceSeconds"]:
                    self.kill(signal.SIGKILL)
        # What it has left behind in its session.
        self.kill(signal.SIGKILL)
        return code if code >= 0 else 128 - code


def attempt(plan):
    environment = dict(os.environ)
    options = json.loads(environment.pop("SWITCHYARD_INSTALLER_ARGUMENTS", "[]"))
    certificate = os.path.join(HERE, "ca.pem")
    if os.path.exists(certificate):
        environment["MLFLOW_TRACKING_SERVER_CERT_PATH"] = certificate
    else:
        certificate = None
    registry = Registry(environment["MLFLOW_TRACKING_URI"], environment.get("MLFLOW_TRACKING_TOKEN"), certificate, plan["patienceSeconds"])
    command = Command(plan)
    first = (environment.get("PET_NODE_RANK") or environment.get("JOB_COMPLETION_INDEX") or "0") == "0"
    for entry in plan["inputs"]:
        bring(registry, "input %s" % json.dumps(entry["name"]), os.path.join(WORK, entry["path"]), entry["files"])
    if plan["checkpoint"] is not None:
        bring_checkpoint(registry, plan["checkpoint"]["path"], plan["checkpoint"]["files"])
    if plan["environment"] is not None:
        folder = provide(plan["environment"], options)
        environment["PATH"] = os.path.join(folder, "bin") + os.pathsep + environment.get("PATH", os.defpath)
        environment["VIRTUAL_ENV"] = folder
    code = command.run(sys.argv[1:], environment)
    if not first:
        return code
    if plan["checkpoint"] is not None:
        try:
            take_checkpoint(registry, plan)
        except (Failure, OSError) as failure:
            say("the checkpoint could not be stored: %s" % failure)
    if code == 0:
        take_outputs(registry, plan)
    return code


def main():
    with open(os.path.join(HERE, "plan.json")) as file:
        plan = json.load(file)
    try:
        return attempt(plan)
    except Failure as failure:
        found = failure
    except OSError as error:
        found = Failure(str(error), "look at the node's disk and at the image's user", True)
    print("switchyard: failed: " + " ".join(str(found).split()), flush=True)
    if found.next_step:
        print("switchyard: next step: " + found.next_step, flush=True)
    return PASSING if found.passing else FINAL


sys.exit(main())
`;
