"""Shared by the four suites: running the program under limits, command-line options, and reports."""

import argparse
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED_BUNDLE = REPOSITORY / "models" / "emoji"

# Limits of one call. Address space is more than any call may use: what counts is the resident memory that is measured.
ADDRESS_SPACE = 8_000_000_000
TIME_LIMIT_S = 20.0
MEMORY_LIMIT_MB = 1000.0
# A message longer than this is not one sentence.
LONGEST_MESSAGE = 12_000

FAULT = re.compile(r"fault of onestep|panicked at|please report|stack overflow|memory allocation of|RUST_BACKTRACE", re.IGNORECASE)
# Control characters other than line breaks and tabs, and marks that reorder text.
RAW = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass
class Outcome:
    """How one call of the program ended."""

    arguments: list
    code: int
    seconds: float
    cpu_seconds: float
    megabytes: float
    stdout: str
    stderr: str
    timed_out: bool
    started: float
    ended: float

    @property
    def text(self):
        return self.stderr + "\n" + self.stdout

    def faults(self):
        """What no call may do, whatever it is given: end by a signal, take too much time or memory, blame itself, print raw control characters."""
        found = []
        if self.timed_out:
            found.append("ran into its time limit")
        elif self.code < 0:
            found.append(f"ended by {signal.Signals(-self.code).name}")
        if self.megabytes > MEMORY_LIMIT_MB:
            found.append(f"{self.megabytes:.0f} MB of memory")
        match = FAULT.search(self.stderr)
        if match:
            found.append(f'says "{match.group(0)}"')
        if RAW.search(self.text):
            found.append("prints raw control characters")
        if len(self.stderr) > LONGEST_MESSAGE:
            found.append(f"a message of {len(self.stderr)} characters")
        return found

    def command(self):
        return " ".join(quoted(argument) for argument in self.arguments)


def printable(text):
    """Text with its control characters escaped: what is tested for raw ones must not print them itself."""
    return RAW.sub(lambda match: f"\\u{{{ord(match.group(0)):x}}}", text)


def quoted(argument):
    argument = str(argument)
    return argument if re.fullmatch(r"[\w@%+=:,./-]+", argument) else "'" + argument.replace("'", "'\\''") + "'"


class Call:
    """A running call: its own process group, limits on address space and time, output in files."""

    def __init__(self, program, arguments, cwd=None, limit=TIME_LIMIT_S):
        self.arguments = ["onestep", *map(str, arguments)]
        self.limit = limit
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ONESTEP_")}
        environment |= {"ONESTEP_PROGRESS": "never"}
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            [str(program), *map(str, arguments)],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
            start_new_session=True,
        )
        self.pid = self._process.pid
        try:
            resource.prlimit(self.pid, resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
            resource.prlimit(self.pid, resource.RLIMIT_CORE, (0, 0))
        except ProcessLookupError:
            pass
        self._ended, self._peak = None, 0
        self._own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def poll(self):
        """Whether it has ended."""
        if self._ended is None:
            self._measure()
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self._finish(status, usage)
        return self._ended is not None

    def _measure(self):
        """The most memory so far. What `wait4` tells counts what this process had when it started the other one, so it is of use only beyond that."""
        try:
            with open(f"/proc/{self.pid}/status") as status:
                lines = [line for line in status if line.startswith("VmHWM:")]
        except OSError:
            return
        self._peak = max(self._peak, *[int(line.split()[1]) for line in lines], 0)

    def _finish(self, status, usage):
        self._ended = time.monotonic()
        self._code = os.waitstatus_to_exitcode(status)
        # Tells subprocess that there is nobody left to wait for.
        self._process.returncode = self._code
        self._usage = usage

    def kill(self):
        """SIGKILL to the whole group."""
        if not self.poll():
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def wait(self):
        timed_out = False
        pause = 0.001
        while not self.poll():
            if time.monotonic() - self.started > self.limit and not timed_out:
                timed_out = True
                self.kill()
            time.sleep(pause)
            pause = min(pause * 1.3, 0.01)
        texts = []
        for file in (self._out, self._err):
            file.seek(0)
            texts.append(file.read(4_000_000).decode("utf-8", "replace"))
            file.close()
        return Outcome(
            arguments=self.arguments,
            code=self._code,
            seconds=self._ended - self.started,
            cpu_seconds=self._usage.ru_utime + self._usage.ru_stime,
            megabytes=(self._usage.ru_maxrss if self._usage.ru_maxrss > self._own else self._peak) / 1024,
            stdout=texts[0],
            stderr=texts[1],
            timed_out=timed_out,
            started=self.started,
            ended=self._ended,
        )


class Program:
    """The program under test."""

    def __init__(self, path):
        self.path = Path(path).resolve()
        if not self.path.is_file():
            sys.exit(f"no program at {self.path}; build it with `cargo build --release` or name it with --program")

    def start(self, *arguments, cwd=None, limit=TIME_LIMIT_S):
        return Call(self.path, arguments, cwd, limit)

    def run(self, *arguments, cwd=None, limit=TIME_LIMIT_S):
        return self.start(*arguments, cwd=cwd, limit=limit).wait()

    def succeed(self, *arguments, cwd=None, limit=300.0):
        """A call that must work: sound inputs are made by it."""
        outcome = self.run(*arguments, cwd=cwd, limit=limit)
        if outcome.code != 0:
            sys.exit(f"{outcome.command()} failed with {outcome.code}: {outcome.stderr.strip()}")
        return outcome


def default_program():
    target = os.environ.get("CARGO_TARGET_DIR")
    return (Path(target) if target else REPOSITORY / "target") / "release" / "onestep"


def options(description, **extra):
    """The options of every suite, and further ones by name: (type, default, help)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--program", default=default_program(), help="the built program (default: %(default)s)")
    parser.add_argument("--work", help="folder for inputs and results; kept and used again (default: a temporary folder)")
    parser.add_argument("--json", metavar="FILE", help="also write the results as JSON")
    parser.add_argument("--jobs", type=int, default=2, help="calls at a time (default: %(default)s)")
    for name, (kind, default, text) in extra.items():
        flag = "--" + name.replace("_", "-")
        if kind is bool:
            parser.add_argument(flag, action="store_true", help=text)
        else:
            parser.add_argument(flag, type=kind, default=default, help=f"{text} (default: %(default)s)")
    return parser.parse_args()


class Work:
    """The work folder: removed at the end unless it was named."""

    def __init__(self, path, suite):
        self.kept = path is not None
        self.path = Path(path).resolve() if path else Path(tempfile.mkdtemp(prefix=f"onestep-{suite}-"))
        self.path.mkdir(parents=True, exist_ok=True)
        # Named after the suite: two suites may share samples, not scratch.
        self.scratch = self.path / suite

    def __enter__(self):
        if self.scratch.exists():
            shutil.rmtree(self.scratch)
        self.scratch.mkdir()
        return self

    def __exit__(self, *_):
        if not self.kept:
            shutil.rmtree(self.path, ignore_errors=True)


@dataclass
class Report:
    """Rows of results: failing ones are printed at once, all of them go into the JSON file."""

    suite: str
    rows: list = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    def __post_init__(self):
        self._lock = threading.Lock()

    def add(self, kind, name, problems, calls=(), **more):
        """One row. `problems` are sentences; none of them is a pass."""
        row = {"kind": kind, "name": name, "passed": not problems, "problems": list(problems)}
        row |= {"calls": [as_json(call) for call in calls]} | more
        with self._lock:
            self.rows.append(row)
            if problems:
                print(f"FAIL {kind}/{name}: " + printable("; ".join(problems)), flush=True)

    def finish(self, options, extra=None):
        """Prints the totals, writes the JSON file, and gives the exit code."""
        kinds = {}
        for row in self.rows:
            passed, tried = kinds.get(row["kind"], (0, 0))
            kinds[row["kind"]] = (passed + row["passed"], tried + 1)
        calls = [call for row in self.rows for call in row["calls"]]
        print()
        for kind, (passed, tried) in kinds.items():
            print(f"{kind:24} {passed:5} of {tried}")
        passed = sum(row["passed"] for row in self.rows)
        took = time.monotonic() - self.begun
        print(f"{self.suite}: {passed} of {len(self.rows)} passed, {len(calls)} calls in {took:.0f} s", end="")
        if calls:
            slowest, largest = max(call["seconds"] for call in calls), max(call["megabytes"] for call in calls)
            print(f"; slowest {slowest:.2f} s, most memory {largest:.0f} MB", end="")
        print()
        if options.json:
            totals = {"suite": self.suite, "passed": passed, "tried": len(self.rows), "seconds": round(took, 1), "kinds": kinds}
            Path(options.json).write_text(json.dumps(totals | (extra or {}) | {"rows": self.rows}, indent=1) + "\n")
        return 0 if passed == len(self.rows) and self.rows else 1


def as_json(outcome):
    return {
        "command": outcome.command(),
        "code": outcome.code,
        "seconds": round(outcome.seconds, 3),
        "megabytes": round(outcome.megabytes, 1),
        "stderr": outcome.stderr[-2000:],
    }


def in_parallel(jobs, work, items):
    """Does `work(item)` for all items, so many at a time; the first exception ends it."""
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        for future in [pool.submit(work, item) for item in items]:
            future.result()


def link_tree(source, target):
    """A copy of a folder that hard-links the files of the original; change them only by `replace`."""
    shutil.copytree(source, target, copy_function=os.link, symlinks=True)
    return Path(target)


def replace(path, content):
    """Replaces the content of a file without touching the bytes of its links."""
    path = Path(path)
    if path.is_symlink() or path.exists():
        remove(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def remove(path):
    path = Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def tree(folder):
    """Every file below a folder with its bytes, hidden ones included; links by their target."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = b"link to " + os.readlink(path).encode()
        elif path.is_file():
            found[name] = path.read_bytes()
        else:
            found[name + "/"] = b""
    return found


def hidden(folder):
    """Names that begin with a dot, in a folder or below it."""
    return [path.relative_to(folder).as_posix() for path in sorted(Path(folder).rglob(".*"))]
