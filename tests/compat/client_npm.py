#!/usr/bin/env python3
"""Run a Node.js client's program against a server: client_npm.py SERVER BUILD_DIR PACKAGE VERSION PROGRAM

Installs the npm package into BUILD_DIR unless it is there. Exit 77: no node, no npm, or no network to install from.
"""

import os
import shutil
import subprocess
import sys

import servers

INSTALL_S = 120
RUN_S = 60


def install(folder, package, version):
    if os.path.isdir(os.path.join(folder, "node_modules", package)):
        return
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "package.json"), "w", encoding="utf-8") as file:
        file.write('{"private": true}\n')
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1",
               "--fetch-timeout=20000", "%s@%s" % (package, version)]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S,
                              check=False)
    except subprocess.TimeoutExpired:
        servers.skip("npm install %s took over %d s" % (package, INSTALL_S))
    if done.returncode != 0:
        reason = [text for text in done.stderr.splitlines() if " code " in text] or ["failed"]
        if "E404" in reason[0] or "ETARGET" in reason[0]:
            sys.exit("npm install %s@%s: %s" % (package, version, done.stderr[-2000:]))
        servers.skip("npm install %s: %s" % (package, reason[0]))


def main():
    server, build, package, version, program = sys.argv[1:]
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            servers.skip("no %s on this machine (Debian packages nodejs, npm)" % tool)
    folder = os.path.join(os.path.abspath(build), package)
    install(folder, package, version)
    here = os.path.dirname(os.path.abspath(__file__))
    with servers.start(server) as running:
        done = subprocess.run(["node", os.path.join(here, "clients", program), str(running.port), package],
                              cwd=folder, timeout=RUN_S, check=False)
        if done.returncode != 0:
            print(running.log())
    return 1 if done.returncode != 0 else 0


if __name__ == "__main__":
    sys.exit(main())
