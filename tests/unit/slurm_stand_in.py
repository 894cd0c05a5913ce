"""sbatch, squeue, scancel, sacct, srun and scontrol, as far as the search uses them and as Slurm's manual pages tell of them.

Copied to files of these names. Jobs are real processes; their states are files in the folder $STAND_IN_HOME, where
``slots`` says how many run at a time, and ``COMMAND-fails`` makes a command fail (holding ``late``: after it did its work).
A job that writes a state to ``ID.becomes`` ends in it, as if its node or its partition had done that to it.
"""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

HOME = Path(os.environ["STAND_IN_HOME"])
LIVE = ("PENDING", "RUNNING", "COMPLETING")


def jobs():
    return [json.loads(p.read_text()) for p in sorted(HOME.glob("job-*"), key=lambda p: int(p.name[4:]))]


def write(job):
    aside = HOME / f".{job['id']}.{os.getpid()}"
    aside.write_text(json.dumps(job))
    aside.replace(HOME / f"job-{job['id']}")


def read(number):
    return json.loads((HOME / f"job-{number}").read_text())


def options(words):
    named = dict(re.match(r"--([\w-]+)=?(.*)", w).groups() for w in words if w.startswith("--"))
    return named, [w for w in words if not w.startswith("--")]


class Locked:
    def __enter__(self):
        self.file = (HOME / "lock").open("a")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_):
        self.file.close()


def sbatch(words):
    named, rest = options(words)
    if named.get("partition", "all") != "all":
        sys.exit("sbatch: error: Batch job submission failed: Invalid partition name specified")
    if "test-only" in named:
        return
    with Locked():
        job = {
            "id": len(jobs()) + 1,
            "name": named["job-name"],
            "state": "PENDING",
            "code": 0,
            "script": rest,
            "options": named,
        }
        write(job)
    if os.fork() == 0:
        daemon(job["id"])
    if (HOME / "sbatch-fails").exists():
        sys.exit("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
    print(job["id"])


def daemon(number):
    """What becomes of one job, in a process that sbatch does not wait for."""
    os.setsid()
    for stream in range(3):
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    while HOME.exists():
        with Locked():
            job = read(number)
            if job["state"] != "PENDING":
                os._exit(0)
            if sum(one["state"] in LIVE[1:] for one in jobs()) < int((HOME / "slots").read_text()):
                write({**job, "state": "RUNNING"})
                break
        time.sleep(0.05)
    environment = {**os.environ, "SLURM_JOB_ID": str(number), "SLURM_JOB_NAME": job["name"], "SLURM_JOB_NODELIST": "node1"}
    with open(job["options"]["output"].replace("%%", "%"), "ab") as log:
        process = subprocess.Popen(["bash", *job["script"]], env=environment, stdout=log, stderr=log, start_new_session=True)
    write({**read(number), "process": process.pid, "state": "RUNNING"})
    code = process.wait()
    with Locked():
        job, becomes = read(number), HOME / f"{number}.becomes"
        state = "COMPLETED" if code == 0 else "FAILED"
        state = becomes.read_text() if becomes.exists() else "CANCELLED" if job.get("cancelled") else state
        write({**job, "state": state, "code": code})
    os._exit(0)


def scancel(words):
    named, rest = options(words)
    for number in rest:
        with Locked():
            job = read(number)
            if job["state"] not in LIVE or any(named.get(key, job[key]) != job[key] for key in ("state", "name")):
                continue
            write({**job, "cancelled": True, "state": "CANCELLED" if job["state"] == "PENDING" else job["state"]})
        if job["state"] == "RUNNING" and "process" in job:
            os.killpg(job["process"], signal.SIGKILL)


def squeue(words):
    named, _ = options(words)
    if "steps" in named or os.environ.get("SQUEUE_PARTITION", "all") != "all":
        return
    forgotten = set((HOME / "forgotten").read_text().split()) if (HOME / "forgotten").exists() else set()
    for job in jobs():
        if str(job["id"]) not in forgotten:
            status = job["code"] << 8 if job["code"] >= 0 else -job["code"]
            print(f"{job['id']:<24}{job['state']:<24}{status:<16}{job['name']:<256}")


def sacct(words):
    if (HOME / "no-accounting").exists():
        sys.exit("Slurm accounting storage is disabled")
    for number in options(words)[0]["jobs"].split(","):
        job = read(number)
        who = f" by {os.getuid()}" if job["state"] == "CANCELLED" else ""
        print(f"{number}|{job['state']}{who}|{max(job['code'], 0)}:{max(-job['code'], 0)}|{job['name']}")


def srun(words):
    """What `drivetrain` would be told goes to $STAND_IN_RUNS."""
    told = [words, os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"], [k for k in os.environ if k.startswith("SLURM_")]]
    (HOME / f"srun-{os.getpid()}").write_text(json.dumps(told))
    os.execv(os.environ["STAND_IN_RUNS"], [os.environ["STAND_IN_RUNS"], *words[words.index("drivetrain") + 1 :]])


def scontrol(words):
    assert words[:2] == ["show", "hostnames"]
    print("\n".join(words[2].split(",")))


if __name__ == "__main__":
    name = Path(sys.argv[0]).name
    fails = HOME / f"{name}-fails"
    if fails.exists() and fails.read_text() != "late":
        sys.exit(f"{name}: error: Unable to contact slurm controller (connect failure)")
    globals()[name](sys.argv[1:])
