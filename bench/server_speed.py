#!/usr/bin/env python3
"""CPU time per command of faultline-server beside redis-server, in interleaved rounds of one run.

    bench/server_speed.py [--rounds 7] [--build build/release] [--json FILE] [--scale 1.0]

Servers run on CPU 0, redis-benchmark on CPU 1. docs/speed.md says what is measured, and what that is worth.
"""
import argparse
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

SERVER_CPU, CLIENT_CPU = "0", "1"
KEYS = 1_000_000
VALUE_BYTES = 100
CLIENTS = 50
PIPELINES = (1, 16, 64)
REQUESTS = {1: 200_000, 16: 1_000_000, 64: 2_000_000}
REQUESTS_SYNC = {1: 40_000, 16: 200_000, 64: 400_000}
TARGET_CPU = {("SET", 1): 1.0, ("SET", 16): 0.6, ("SET", 64): 0.4}
TARGET_SYNC_RATE = 1.2
READY_S = 120
TICKS = os.sysconf("SC_CLK_TCK")


EXIT_LACKING = 77  # what ctest takes for skipped


def stop_with(text, code=1):
    print(f"server_speed.py: {text}", file=sys.stderr)
    sys.exit(code)


class Server:
    """A server process on its own CPU."""

    def __init__(self, name, argv, log_path):
        self.name = name
        self.log = open(log_path, "w+")
        self.process = subprocess.Popen(["taskset", "-c", SERVER_CPU, *argv], stdout=self.log,
                                        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def said(self):
        self.log.flush()
        with open(self.log.name) as log:
            return log.read()

    def wait(self, port):
        """Wait until it serves; port 0: it names one itself."""
        limit = time.monotonic() + READY_S
        while time.monotonic() < limit and self.process.poll() is None:
            self.port = port or self.port_named()
            if self.port:
                try:
                    socket.create_connection(("127.0.0.1", self.port), 1).close()
                    return
                except OSError:
                    pass
            time.sleep(0.05)
        stop_with(f"{self.name} doesn't serve:\n{self.said()}")

    def port_named(self):
        words = self.said().replace("\n", " ").split(" ")
        for i, word in enumerate(words[:-1]):
            if word == "port" and words[i + 1].isdigit():
                return int(words[i + 1])
        return 0

    def cpu_s(self):
        """User and system time of all threads, those that have ended included."""
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_redis(args, folder, sync):
    port = free_port()
    argv = [args.redis, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "",
            "--loglevel", "warning", "--maxmemory", "0"]
    argv += (["--appendonly", "yes", "--appendfsync", "always",
              "--auto-aof-rewrite-percentage", "0"] if sync else ["--appendonly", "no"])
    server = Server("redis", argv, os.path.join(folder, "redis.log"))
    server.wait(port)
    return server


def start_faultline(args, folder, mapping):
    durability = "process" if mapping == "volatile" else "powercut"
    argv = [args.server, "--port", "0", "--store", os.path.join(folder, "store"), "--mapping", mapping,
            "--durability-min", durability, *args.server_flags]
    server = Server("faultline", argv, os.path.join(folder, "faultline.log"))
    server.wait(0)
    return server


def start_noparse(args, folder, bulk):
    argv = [args.noparse, "--bulk", str(bulk)]
    server = Server("noparse", argv, os.path.join(folder, f"noparse-{bulk}.log"))
    server.wait(0)
    return server


def info(server):
    out = subprocess.run(["redis-cli", "-p", str(server.port), "INFO", "everything"],
                         capture_output=True, text=True, check=True).stdout
    pairs = (line.split(":", 1) for line in out.splitlines() if ":" in line)
    return {name: value.strip() for name, value in pairs}


def preload(server, keys):
    """Every key that redis-benchmark -r KEYS can draw, so that no SET of the run is an insert."""
    value = b"$%d\r\n%s\r\n" % (VALUE_BYTES, b"x" * VALUE_BYTES)
    chunk = 10_000
    with socket.create_connection(("127.0.0.1", server.port), 60) as conn:
        for first in range(0, keys, chunk):
            numbers = range(first, min(first + chunk, keys))
            conn.sendall(b"".join(b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n" % i + value
                                  for i in numbers))
            left = 5 * len(numbers)
            while left > 0:
                got = conn.recv(min(left, 1 << 16))
                if not got or got.strip(b"+OK\r\n"):
                    stop_with(f"{server.name} answered {got[:80]!r} while keys were loaded")
                left -= len(got)
    size = int(subprocess.run(["redis-cli", "-p", str(server.port), "DBSIZE"], capture_output=True,
                              text=True, check=True).stdout)
    if size != keys:
        stop_with(f"{server.name} holds {size} keys instead of {keys}")


def measure(server, command, pipeline, requests, keys, counted):
    """One redis-benchmark: CPU time per command in us, commands per second."""
    argv = ["taskset", "-c", CLIENT_CPU, "redis-benchmark", "-p", str(server.port), "-c", str(CLIENTS),
            "-n", str(requests), "-P", str(pipeline), "-d", str(VALUE_BYTES), "-r", str(keys), "-t",
            command.lower(), "-q", "--csv"]
    before = int(info(server)["total_commands_processed"]) if counted else 0
    cpu = server.cpu_s()
    begin = time.monotonic()
    done = subprocess.run(argv, capture_output=True, text=True)
    seconds = time.monotonic() - begin
    cpu = server.cpu_s() - cpu
    commands = int(info(server)["total_commands_processed"]) - before if counted else requests
    if done.returncode != 0 or commands < requests or "rror" in done.stdout:
        stop_with(f"redis-benchmark on {server.name}: {commands} of {requests} commands\n"
                  f"{done.stdout}{done.stderr}")
    rate = float(done.stdout.strip().splitlines()[-1].split('","')[1].strip('"'))
    return {"cpu_us": cpu * 1e6 / commands, "rate": rate, "seconds": seconds}


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summarise(rounds, figure):
    """Medians of each server and of the ratio within each round."""
    names = [name for name in ("noparse", "redis", "faultline") if name in rounds[0]]
    out = {name: spread([r[name][figure] for r in rounds]) for name in names}
    ratios = [r["faultline"][figure] / r["redis"][figure] for r in rounds if r["redis"][figure] > 0]
    if not ratios:
        stop_with("a measurement was too short for the kernel's clock: give a larger --scale")
    out["ratio"] = spread(ratios)
    return out


def run_phase(title, servers_of, cases, requests, args):
    """Rounds over all cases; in each, all servers in an order that changes. {case: [round, ...]}"""
    results = {case: [] for case in cases}
    for number in range(args.rounds):
        print(f"# {title}: round {number + 1} of {args.rounds}, load {os.getloadavg()[0]:.2f}",
              file=sys.stderr, flush=True)
        for case in cases:
            command, pipeline = case
            servers = servers_of(command)
            random.shuffle(servers)
            results[case].append({
                s.name: measure(s, command, pipeline, max(1000, int(requests[pipeline] * args.scale)),
                                args.keys, s.name != "noparse")
                for s in servers})
    return results


def memory_phase(args):
    """Neither persists through a power cut: redis without persistence, ours on memory with all flushes and fences."""
    folder = tempfile.mkdtemp(prefix="faultline-speed-", dir="/dev/shm")
    servers = []
    try:
        servers.append(start_redis(args, folder, sync=False))
        servers.append(start_faultline(args, folder, "volatile"))
        redis, faultline = servers
        noparse = {"SET": start_noparse(args, folder, 0), "GET": start_noparse(args, folder, VALUE_BYTES)}
        servers += noparse.values()
        for server in (redis, faultline):
            preload(server, args.keys)
        cases = [(command, p) for command in args.commands for p in args.pipelines]
        before = info(faultline)
        results = run_phase("in memory", lambda c: [noparse[c], redis, faultline], cases, REQUESTS,
                            args)
        after = info(faultline)
        kept = ("fences_total", "lines_flushed_total", "commits_total", "records_total",
                "syncs_total", "put_path_faults_total", "put_path_waits_total",
                "cleaner_copied_bytes_total")
        counters = {name: int(after[name]) - int(before[name]) for name in kept if name in after}
        about = {name: after.get(name) for name in
                 ("mapping_kind", "mapping_detail", "durability_granted", "multiplexing_api",
                  "file_bytes", "live_bytes")}
        return results, counters, about
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def disk_phase(args):
    """Both acknowledge only what a power cut spares, on the same disk."""
    folder = tempfile.mkdtemp(prefix="faultline-speed-", dir=args.disk)
    servers = []
    try:
        servers.append(start_redis(args, folder, sync=True))
        servers.append(start_faultline(args, folder, "page"))
        about = {name: info(servers[1]).get(name) for name in
                 ("mapping_kind", "mapping_detail", "durability_granted")}
        results = run_phase("on disk", lambda c: list(servers), [("SET", p) for p in args.pipelines],
                            REQUESTS_SYNC, args)
        return results, about
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def cell(figures, digits):
    return (f"{figures['median']:>10.{digits}f} ({figures['min']:.{digits}f} to "
            f"{figures['max']:.{digits}f})").ljust(32)


def print_table(title, results, figure, digits, targets, below):
    """One row a case. Returns {case: summary}, with `met` where there is a target."""
    print(f"\n{title}")
    print(f"{'':10}{'no parsing':>14}{'':18}{'redis':>14}{'':18}{'faultline':>14}{'':18}{'ratio':>14}")
    out = {}
    for (command, pipeline), rounds in results.items():
        summary = summarise(rounds, figure)
        target = targets.get((command, pipeline))
        if target is not None:
            ratio = summary["ratio"]["median"]
            summary["target"] = target
            summary["met"] = ratio <= target if below else ratio >= target
        columns = [cell(summary[name], digits) if name in summary else "".ljust(32)
                   for name in ("noparse", "redis", "faultline")]
        verdict = "" if target is None else (
            f"  target {'<=' if below else '>='} {target}: {'met' if summary['met'] else 'NOT MET'}")
        print(f"{command + ' -P ' + str(pipeline):10}{''.join(columns)}{cell(summary['ratio'], 2)}{verdict}")
        out[f"{command} -P {pipeline}"] = summary
    return out


def parse_arguments():
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--build", default=os.path.join(top, "build/release"),
                        help="folder of a release build (build/release)")
    parser.add_argument("--redis", default="redis-server")
    parser.add_argument("--keys", type=int, default=KEYS, help=f"keys preloaded and drawn from ({KEYS})")
    parser.add_argument("--scale", type=float, default=1.0, help="times as many requests a measurement")
    parser.add_argument("--commands", default="SET,GET")
    parser.add_argument("--pipelines", default=",".join(map(str, PIPELINES)))
    parser.add_argument("--phases", default="memory,disk")
    parser.add_argument("--disk", default="/var/tmp", help="a folder on the disk of the second table")
    parser.add_argument("--json", help="write all rounds and medians to this file")
    parser.add_argument("--gate", action="store_true", help="exit 1 if a target isn't met")
    parser.add_argument("--server-flags", default="", help="more flags for faultline-server")
    args = parser.parse_args()
    args.server = os.path.join(args.build, "server/faultline-server")
    args.noparse = os.path.join(args.build, "bench/noparse_server")
    args.commands = args.commands.split(",")
    args.pipelines = [int(p) for p in args.pipelines.split(",")]
    args.server_flags = args.server_flags.split()
    for program in (args.server, args.noparse):
        if not os.access(program, os.X_OK):
            stop_with(f"no {program}: cmake --preset release && cmake --build --preset release")
    for program in (args.redis, "redis-benchmark", "redis-cli", "taskset"):
        if shutil.which(program) is None:
            stop_with(f"{program} is not installed", EXIT_LACKING)
    if not {0, 1} <= os.sched_getaffinity(0):
        stop_with("CPU 0 and CPU 1 are needed, one for the server and one for the client",
                  EXIT_LACKING)
    return args


def main():
    args = parse_arguments()
    out = {"rounds": args.rounds, "keys": args.keys, "value_bytes": VALUE_BYTES, "clients": CLIENTS,
           "load_before": os.getloadavg()[0], "kernel": os.uname().release,
           "redis": subprocess.run([args.redis, "--version"], capture_output=True,
                                   text=True).stdout.strip()}
    if out["load_before"] > 0.5:
        print(f"# the machine is busy (load {out['load_before']:.2f}): take none of this for a result",
              file=sys.stderr)
    if "memory" in args.phases:
        results, out["counters"], out["faultline_memory"] = memory_phase(args)
        out["raw_memory"] = {f"{c} -P {p}": rounds for (c, p), rounds in results.items()}
        out["cpu_us"] = print_table("CPU time of the server process per command, us: median (min to max)",
                                    results, "cpu_us", 2, TARGET_CPU, below=True)
        out["rate"] = print_table("Commands per second: median (min to max)", results, "rate", 0, {},
                                  below=False)
        print("\nfaultline, in those rounds: " + ", ".join(
            f"{name} {value}" for name, value in out["counters"].items()))
        print("mapping {mapping_kind} ({mapping_detail}), survives {durability_granted}, loop "
              "{multiplexing_api}".format(**out["faultline_memory"]))
    if "disk" in args.phases:
        results, out["faultline_disk"] = disk_phase(args)
        out["raw_disk"] = {f"{c} -P {p}": rounds for (c, p), rounds in results.items()}
        targets = {case: TARGET_SYNC_RATE for case in results}
        out["rate_disk"] = print_table(
            f"Commands per second on {args.disk}, page mapping beside appendfsync always: median (min to max)",
            results, "rate", 0, targets, below=False)
        print("mapping {mapping_kind} ({mapping_detail}), survives {durability_granted}".format(
            **out["faultline_disk"]))
    out["load_after"] = os.getloadavg()[0]
    if args.json:
        with open(args.json, "w") as file:
            json.dump(out, file, indent=1)
    missed = [f"{name}: {case}" for name in ("cpu_us", "rate_disk") for case, s in out.get(name, {}).items()
              if not s.get("met", True)]
    if args.gate and missed:
        stop_with("targets not met: " + "; ".join(missed))


if __name__ == "__main__":
    main()
