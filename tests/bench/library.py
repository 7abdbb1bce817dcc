"""The script of the library parallel-ssh (libssh2): it runs a command on every server. In an interpreter of its own.

python library.py HOSTS SSH_PORT USER KEY FORKS COMMAND
"""

import sys
from pathlib import Path

from pssh.clients import ParallelSSHClient  # ty: ignore  # installed beside it, by the benchmark

if __name__ == "__main__":
    hosts, port, user, key, forks, command = sys.argv[1:]
    client = ParallelSSHClient(
        Path(hosts).read_text().split(), port=int(port), user=user, pkey=key, pool_size=int(forks), allow_agent=False
    )
    for output in client.run_command(command):
        for line in output.stdout:
            sys.stdout.write(f"{line}\n")
