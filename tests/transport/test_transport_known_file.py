"""Writing known_hosts: what is added and taken out, and that every other byte stays."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.transport.known_file import Entry, old_lines, record, update
from fleet.transport.known_hosts import KnownHosts
from support.sshd import public_line

OLD, NEW, OTHER = (public_line(asyncssh.generate_private_key("ssh-ed25519")) for _ in range(3))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "known_hosts"


def keys_of(file: Path, host: str, port: int = 22) -> set[str]:
    return {public_line(key) for key in KnownHosts([file]).lookup(host, port).host}


def test_a_missing_file_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "ssh" / "known_hosts"
    assert update(file, [Entry("edge", NEW)], replace=False, hashed=False) == [Entry("edge", NEW)]
    assert file.read_text() == f"edge {NEW}\n"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_what_is_there_is_not_added_again(file: Path) -> None:
    file.write_text(f"Edge,192.0.2.1 {NEW} a comment\n")
    assert update(file, [Entry("edge", NEW)], replace=True, hashed=False) == []
    assert file.read_text() == f"Edge,192.0.2.1 {NEW} a comment\n"


def test_old_keys_leave_only_where_that_is_said(file: Path) -> None:
    keep = f"# mine\n\n@cert-authority edge {OLD}\n@revoked edge {OLD}\n*.example,edge* {OLD}\nother {OLD}\xe9"
    file.write_bytes(f"edge {OLD}\n".encode() + keep.encode("latin-1"))
    assert old_lines(file, Entry("edge", NEW)) == [1]
    update(file, [Entry("edge", NEW)], replace=False, hashed=False)
    assert file.read_bytes() == f"edge {OLD}\n".encode() + keep.encode("latin-1") + f"\nedge {NEW}\n".encode()
    update(file, [Entry("edge", NEW)], replace=True, hashed=False)
    assert file.read_bytes() == keep.encode("latin-1") + f"\nedge {NEW}\n".encode()


def test_ports_are_names_of_their_own(file: Path) -> None:
    file.write_text(f"edge {OLD}\n[edge]:2222 {OLD}\n")
    update(file, [Entry("[edge]:2222", NEW)], replace=True, hashed=False)
    assert file.read_text() == f"edge {OLD}\n[edge]:2222 {NEW}\n"


def test_a_hashed_file_stays_hashed_for_ssh_and_for_fleet(file: Path) -> None:
    file.write_text(f"edge {OLD}\nother {OTHER}\n")
    subprocess.run(["ssh-keygen", "-H", "-f", str(file)], check=True, capture_output=True)
    update(file, [Entry("[new]:2222", NEW), Entry("edge", NEW)], replace=True, hashed=False)
    assert all(line.startswith("|1|") for line in file.read_text().splitlines())
    assert (keys_of(file, "edge"), keys_of(file, "other"), keys_of(file, "new", 2222)) == ({NEW}, {OTHER}, {NEW})
    found = subprocess.run(["ssh-keygen", "-F", "[new]:2222", "-f", str(file)], capture_output=True, check=True)
    assert NEW.split()[1].encode() in found.stdout


def test_a_link_and_a_mode_are_kept(tmp_path: Path, file: Path) -> None:
    real = tmp_path / "real"
    real.write_text(f"other {OTHER}\n")
    real.chmod(0o644)
    file.symlink_to(real)
    update(file, [Entry("edge", NEW)], replace=False, hashed=False)
    assert file.is_symlink()
    assert (real.read_text(), real.stat().st_mode & 0o777) == (f"other {OTHER}\nedge {NEW}\n", 0o644)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]  # nothing half done is left


def test_other_files_of_the_user_lose_the_old_key_too(tmp_path: Path, file: Path) -> None:
    second = tmp_path / "known_hosts2"
    second.write_text(f"edge {OLD}\nother {OTHER}\n")
    record([Entry("edge", NEW)], [file, second, tmp_path / "missing"], replace=True, hashed=False)
    assert (file.read_text(), second.read_text()) == (f"edge {NEW}\n", f"other {OTHER}\n")


def test_several_at_once_lose_nothing(file: Path) -> None:
    entries = [Entry(f"edge-{number}", NEW) for number in range(40)]
    threads = [
        threading.Thread(target=update, args=(file, [entry]), kwargs={"replace": False, "hashed": False})
        for entry in entries
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(file.read_text().splitlines()) == sorted(f"{entry.name} {NEW}" for entry in entries)


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Is a directory"):
        update(tmp_path, [Entry("edge", NEW)], replace=False, hashed=False)


LINES = st.lists(
    st.one_of(
        st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")),
        st.sampled_from([f"edge {OLD}".encode(), f"edge {NEW}".encode(), f"|1|x|y {OLD}".encode(), b"@revoked edge x"]),
    ),
    max_size=8,
)


@given(LINES, st.booleans(), st.booleans())
def test_whatever_the_file_has_the_key_is_known_and_the_rest_stays(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], replace: bool, hashed: bool
) -> None:
    file = tmp_path_factory.getbasetemp() / "any_known_hosts"
    file.write_bytes(b"\n".join(lines))
    update(file, [Entry("edge", NEW)], replace=replace, hashed=hashed)
    after = file.read_bytes().split(b"\n")
    expected = [line for line in lines if line.strip() and not (replace and line.startswith(f"edge {OLD}".encode()))]
    assert [line for line in after if line in expected] == expected
    assert NEW in keys_of(file, "edge")
