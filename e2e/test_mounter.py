"""Attacks on the one privileged program: each must be refused and logged, and must not be able to read."""

import contextlib
import ctypes
import errno
import os
import pathlib
import secrets
import signal
import socket
import struct
import subprocess
import threading

import pytest

from harness import NODE_UID, build_dir, wait_for

REQUEST = struct.Struct("=IIQ16sQQII4096s4096s")
REPLY = struct.Struct("=IiQQ4096s256s2048s")
MOUNT, UNMOUNT, BACKING_OPEN, BACKING_CLOSE, TIER_OPEN, ROOT_OPEN, KEEP, FETCH, LIST, BIND, GIVE = (
    2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 17)
LAZY = 4
CLOSING_MAX = 32  # as csi-driver/mounter/state.h


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.sequence = 0

    def call(self, op, session=bytes(16), arg=0, arg2=0, flags=0, path="", fds=(), version=1):
        self.sequence += 1
        message = REQUEST.pack(version, op, self.sequence, session, arg, arg2, flags, 0, os.fsencode(path), b"")
        socket.send_fds(self.socket, [message], list(fds))
        data, got, _, _ = socket.recv_fds(self.socket, REPLY.size, 8)
        assert len(data) == REPLY.size
        _, status, sequence, value, _, text, _ = REPLY.unpack(data)
        assert sequence == self.sequence
        return status, value, text.split(b"\0")[0].decode(), got

    def close(self):
        self.socket.close()


class Mounter:
    """A larder-mounter with two clients, alice and mallory, of one uid; mounts and tiers below a folder."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("alice", "mallory", "mnt", "tier", "mnt/a", "mnt/b"):
            (folder / name).mkdir()
        self.log_path = folder / "mounter.log"
        self.start()
        self.session = secrets.token_bytes(16)
        status, _, text, fds = self.alice.call(MOUNT, self.session, arg=1 << 20, arg2=1024, path=f"{folder}/mnt/a")
        assert status == 0, text
        self.device = fds[0]
        answer_init(self.device)
        status, _, text, fds = self.alice.call(TIER_OPEN, path=f"{folder}/tier")
        assert status == 0, text
        self.tier = fds[0]

    def start(self):
        self.log = open(self.log_path, "w")
        self.process = subprocess.Popen(
            [build_dir() / "libexec/larder/larder-mounter",
             "--client", f"{self.folder}/alice/s:{NODE_UID}", "--client", f"{self.folder}/mallory/s:{NODE_UID}",
             "--mount-root", f"{self.folder}/mnt", "--tier", f"{self.folder}/tier", "--file-root", f"{self.folder}/mnt"],
            stderr=self.log)
        wait_for("the mounter", lambda: "mounter ready" in self.log_path.read_text())
        self.alice, self.mallory = Client(self.folder / "alice/s"), Client(self.folder / "mallory/s")

    def kill_and_start(self):
        """kill -9, then another one, as whoever watches it does. The descriptors are the clients' alone now."""
        self.process.kill()
        self.process.wait(10)
        self.log.close()
        self.alice.close()
        self.mallory.close()
        self.start()

    def refused(self, phrase):
        """The log names the refusal: an operator must be able to see an attack."""
        wait_for(f"the log to say {phrase!r}", lambda: phrase in self.log_path.read_text(), 5)

    def end(self):
        self.alice.call(UNMOUNT, self.session, flags=LAZY)
        self.alice.close()
        self.mallory.close()
        os.close(self.device)
        os.close(self.tier)
        self.process.terminate()
        assert self.process.wait(10) == 0
        self.log.close()


def answer_init(device):
    """FUSE INIT with passthrough, as the supervisor does it."""
    request = os.read(device, 65536)
    unique = struct.unpack_from("=Q", request, 8)[0]
    major, minor, readahead, flags = struct.unpack_from("=IIII", request, 40)
    assert major == 7
    init_ext, passthrough = 1 << 30, 1 << 5
    out = struct.pack("=IIIIHHIIHHII24x", 7, min(minor, 40), readahead, init_ext, 16, 12, 4096, 1, 256, 0,
                      passthrough, 1)
    os.write(device, struct.pack("=IiQ", 16 + len(out), 0, unique) + out)


@pytest.fixture
def mounter(folder):
    one = Mounter(folder)
    yield one
    one.end()


def tier_file(mounter, name, content=b"cached bytes", uid=NODE_UID, mode=0o400):
    path = mounter.folder / "tier/larder" / name
    path.write_bytes(content)
    os.chown(path, uid, uid)
    path.chmod(mode)
    return path


def register(mounter, path, flags=os.O_RDONLY, client=None, session=None):
    fd = os.open(path, flags)
    try:
        return (client or mounter.alice).call(BACKING_OPEN, session or mounter.session, fds=[fd])
    finally:
        os.close(fd)



def test_a_mount_below_a_mount_that_never_answers_is_refused_not_waited_for(mounter):
    # alice holds the device of mnt/a and answers nothing: a look-up below it would never end.
    for op in (MOUNT, ROOT_OPEN):
        status, _, text, _ = mounter.alice.call(op, secrets.token_bytes(16), arg=1 << 20,
                                                path=f"{mounter.folder}/mnt/a/below")
        assert status == -errno.EBUSY, text
        assert "inside a mount of Larder" in text


def test_own_cache_file_is_registered(mounter):
    status, backing, text, _ = register(mounter, tier_file(mounter, "good"))
    assert status == 0, text
    assert backing > 0


def test_a_backing_id_whose_reply_nobody_reads_is_closed_again(mounter):
    path = tier_file(mounter, "good")
    status, first, text, _ = register(mounter, path)
    assert status == 0, text
    impatient = Client(mounter.folder / "alice/s")
    assert impatient.call(LIST)[0] == 0
    mounter.process.send_signal(signal.SIGSTOP)
    fd = os.open(path, os.O_RDONLY)
    message = REQUEST.pack(1, BACKING_OPEN, 1, mounter.session, 0, 0, 0, 0, b"", b"")
    socket.send_fds(impatient.socket, [message], [fd])
    impatient.close()
    os.close(fd)
    mounter.process.send_signal(signal.SIGCONT)
    for _ in range(2):  # a turn of its loop serves every connection
        mounter.alice.call(LIST)
    # Ids are given out in turn, so the next one tells which one the lost reply held.
    status, third, text, _ = register(mounter, path)
    assert status == 0 and third == first + 2, (text, first, third)
    assert mounter.alice.call(BACKING_CLOSE, mounter.session, arg=first + 1)[0] == -errno.ENOENT
    assert mounter.alice.call(BACKING_CLOSE, mounter.session, arg=third)[0] == 0


def test_the_proved_attack_o_path_of_a_root_file_cannot_read(mounter):
    """O_PATH needs no permission on the file; the kernel's BACKING_OPEN would take it, for reading and writing."""
    secret = tier_file(mounter, "secret", b"root only", uid=0, mode=0o600)
    status, _, text, _ = register(mounter, secret, os.O_PATH)
    assert (status, text) == (-13, "the descriptor is refused: it was opened with O_PATH")
    mounter.refused("O_PATH")
    # The same with the node's own file: O_PATH is refused whoever owns it.
    status, _, text, _ = register(mounter, tier_file(mounter, "own"), os.O_PATH)
    assert status == -13


def test_a_file_of_another_owner_is_refused(mounter):
    status, _, text, _ = register(mounter, tier_file(mounter, "foreign", uid=0))
    assert (status, text) == (-13, "the descriptor is refused: it belongs to another user")
    mounter.refused("another user")


def test_a_file_of_another_device_is_refused(mounter):
    fd = os.memfd_create("elsewhere")
    os.write(fd, b"x")
    os.fchown(fd, NODE_UID, NODE_UID)
    read_only = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    status, _, text, _ = mounter.alice.call(BACKING_OPEN, mounter.session, fds=[read_only])
    os.close(fd)
    os.close(read_only)
    assert (status, text) == (-13, "the descriptor is refused: it does not lie on a tier of this client")


def test_a_hard_linked_file_is_refused(mounter):
    path = tier_file(mounter, "linked")
    os.link(path, mounter.folder / "tier/larder/second-name")
    status, _, text, _ = register(mounter, path)
    assert (status, text) == (-13, "the descriptor is refused: it has more than one link")


def test_a_fifo_is_refused(mounter):
    path = mounter.folder / "tier/larder/fifo"
    os.mkfifo(path, 0o600)
    os.chown(path, NODE_UID, NODE_UID)
    status, _, text, _ = register(mounter, path, os.O_RDONLY | os.O_NONBLOCK)
    assert (status, text) == (-13, "the descriptor is refused: it is not a regular file")


def test_a_writable_descriptor_is_refused(mounter):
    status, _, text, _ = register(mounter, tier_file(mounter, "rw", mode=0o600), os.O_RDWR)
    assert (status, text) == (-13, "the descriptor is refused: it is not opened read-only")


def test_another_clients_session_looks_like_none(mounter):
    mounter.mallory.call(TIER_OPEN, path=f"{mounter.folder}/tier")
    status, _, text, _ = register(mounter, tier_file(mounter, "f"), client=mounter.mallory)
    assert (status, text) == (-13, "no such session of this client")
    for op in (UNMOUNT, FETCH):
        status, _, _, fds = mounter.mallory.call(op, mounter.session)
        assert status == -2 and not fds
    status, count, _, _ = mounter.mallory.call(LIST)
    assert (status, count) == (0, 0)
    status, _, text, _ = mounter.mallory.call(MOUNT, mounter.session, arg=1 << 20, path=f"{mounter.folder}/mnt/b")
    assert status == -17, text
    mounter.refused("no such session of this client")


def test_a_tier_counts_only_for_the_client_that_opened_it(mounter):
    other = secrets.token_bytes(16)
    status, _, text, fds = mounter.mallory.call(MOUNT, other, arg=1 << 20, path=f"{mounter.folder}/mnt/b")
    assert status == 0, text
    answer_init(fds[0])
    status, _, text, _ = register(mounter, tier_file(mounter, "f"), client=mounter.mallory, session=other)
    assert (status, text) == (-13, "the descriptor is refused: it does not lie on a tier of this client")
    mounter.mallory.call(UNMOUNT, other, flags=LAZY)
    os.close(fds[0])


def open_descriptors(mounter):
    for client in (mounter.alice, mounter.mallory):  # whatever was answered before is closed now
        client.call(LIST)
    return len(os.listdir(f"/proc/{mounter.process.pid}/fd"))


def test_a_flood_of_descriptors_is_dropped_and_leaks_none(mounter):
    before = open_descriptors(mounter)
    path = tier_file(mounter, "f")
    for _ in range(50):
        attacker = Client(mounter.folder / "alice/s")
        fds = [os.open(path, os.O_RDONLY) for _ in range(100)]
        message = REQUEST.pack(1, BACKING_OPEN, 1, mounter.session, 0, 0, 0, 0, b"", b"")
        socket.send_fds(attacker.socket, [message], fds)
        assert attacker.socket.recv(REPLY.size) == b""  # hung up on
        attacker.close()
        for fd in fds:
            os.close(fd)
    status, _, _, _ = mounter.alice.call(LIST)
    assert status == 0
    wait_for("the flood to be closed", lambda: open_descriptors(mounter) == before, 5)
    mounter.refused("connection dropped: not a request of this protocol")


def test_too_many_descriptors_within_the_limit_are_refused(mounter):
    path = tier_file(mounter, "f")
    fds = [os.open(path, os.O_RDONLY) for _ in range(3)]
    before = open_descriptors(mounter)
    status, _, text, _ = mounter.alice.call(BACKING_OPEN, mounter.session, fds=fds)
    assert (status, text) == (-22, "one descriptor is registered at a time, 3 came")
    assert open_descriptors(mounter) == before
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize("path, status, phrase", [
    ("{0}/elsewhere", -18, "lies below none of the folders allowed at start"),
    ("{0}/mnt/../elsewhere", -22, "must be absolute and without . or .."),
    ("relative", -22, "must be absolute and without . or .."),
    ("{0}/mnt/link", -40, "Too many levels of symbolic links"),
    ("{0}/mnt/none", -2, "No such file or directory"),
    ("{0}/mnt/a", -16, "is a mount point already"),
])
def test_mounts_stay_below_their_root(mounter, path, status, phrase):
    (mounter.folder / "elsewhere").mkdir()
    (mounter.folder / "mnt/link").symlink_to(mounter.folder / "elsewhere")
    got, _, text, _ = mounter.alice.call(MOUNT, secrets.token_bytes(16), arg=1 << 20, path=path.format(mounter.folder))
    assert got == status
    assert phrase in text


def test_tiers_and_roots_not_named_at_start_are_refused(mounter):
    status, _, text, _ = mounter.alice.call(TIER_OPEN, path="/etc")
    assert (status, text) == (-1, "/etc is not a tier named at start")
    status, _, text, _ = mounter.alice.call(ROOT_OPEN, path="/etc")
    assert (status, text) == (-18, "file source /etc lies below none of the folders allowed at start")


def test_only_shared_memory_is_kept(mounter):
    fd = os.open("/etc/hostname", os.O_RDONLY)
    status, _, text, _ = mounter.alice.call(KEEP, mounter.session, fds=[fd])
    os.close(fd)
    assert (status, text) == (-13, "only shared memory (memfd) is kept")


def test_unknown_words_of_the_protocol_are_refused(mounter):
    assert mounter.alice.call(LIST, version=2)[0] == -71
    assert mounter.alice.call(LIST, flags=1 << 20)[0] == -22
    assert mounter.alice.call(999)[0] == -95
    assert mounter.alice.call(BIND)[0] == -95


def test_a_peer_of_another_uid_is_hung_up_on(mounter):
    (mounter.folder / "alice").chmod(0o777)
    (mounter.folder / "alice/s").chmod(0o777)
    program = ("import os, socket, sys; os.setuid(1234); s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); "
               "s.connect(sys.argv[1]); s.settimeout(10); sys.exit(0 if s.recv(10) == b'' else 1)")
    done = subprocess.run(["python3", "-c", program, f"{mounter.folder}/alice/s"], timeout=30, check=False)
    assert done.returncode == 0
    mounter.refused("wrong uid")


def test_a_tier_folder_of_somebody_else_is_refused(folder):
    (folder / "tier/larder").mkdir(parents=True)
    for name in ("alice", "mallory", "mnt", "mnt/a", "mnt/b"):
        (folder / name).mkdir()
    log = folder / "log"
    with open(log, "w") as f:
        process = subprocess.Popen([build_dir() / "libexec/larder/larder-mounter", "--client", f"{folder}/alice/s:{NODE_UID}",
                                    "--mount-root", f"{folder}/mnt", "--tier", f"{folder}/tier"], stderr=f)
    wait_for("the mounter", lambda: "mounter ready" in log.read_text())
    client = Client(pathlib.Path(f"{folder}/alice/s"))
    status, _, text, _ = client.call(TIER_OPEN, path=f"{folder}/tier")
    client.close()
    process.terminate()
    assert process.wait(10) == 0
    assert status == -13
    assert "belongs to uid 0, not 65532" in text


# ---- after kill -9 of the mounter: what the next one is given back ----


def memory():
    return os.memfd_create("memory", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def test_a_new_mounter_knows_the_mounts_of_the_killed_one_and_takes_back_their_descriptors(mounter):
    mounter.kill_and_start()
    assert mounter.alice.call(LIST)[:2] == (0, 1)
    assert mounter.mallory.call(LIST)[:2] == (0, 0)
    status, _, text, fds = mounter.alice.call(FETCH, mounter.session)
    assert (status, fds) == (-errno.ENODATA, []), text
    os.close(mounter.tier)
    status, _, _, fds = mounter.alice.call(TIER_OPEN, path=f"{mounter.folder}/tier")
    mounter.tier = fds[0]
    path = tier_file(mounter, "good")
    assert register(mounter, path)[0] == -errno.EAGAIN
    shared = memory()
    status, _, text, _ = mounter.alice.call(GIVE, mounter.session, fds=[mounter.device, shared])
    assert status == 0, text
    status, backing, text, _ = register(mounter, path)
    assert status == 0 and backing > 0, text
    secret = tier_file(mounter, "secret", b"root only", uid=0, mode=0o600)  # all checks hold as before
    assert register(mounter, secret, os.O_PATH)[0] == -13
    status, _, _, fds = mounter.alice.call(FETCH, mounter.session)
    assert (status, len(fds)) == (0, 2)
    for fd in fds:
        os.close(fd)
    status, _, text, _ = mounter.alice.call(GIVE, mounter.session, fds=[mounter.device, shared])
    assert (status, text) == (-errno.EEXIST, "the descriptors of that session are here")
    os.close(shared)


def test_a_mount_of_a_killed_mounter_is_unmounted_by_the_next_and_nothing_is_looked_up_below_it(mounter):
    mounter.kill_and_start()
    status, _, text, _ = mounter.alice.call(ROOT_OPEN, path=f"{mounter.folder}/mnt/a/below")
    assert status == -errno.EBUSY, text
    assert mounter.alice.call(UNMOUNT, mounter.session, flags=LAZY)[0] == 0
    assert str(mounter.folder / "mnt/a") not in pathlib.Path("/proc/self/mounts").read_text()


def unattached():
    return os.open("/dev/fuse", os.O_RDWR)


@pytest.mark.parametrize("make, phrase", [
    (lambda m: os.open("/dev/null", os.O_RDWR), "it is not /dev/fuse"),
    (lambda m: os.open("/dev/fuse", os.O_PATH), "it was opened with O_PATH"),
    (lambda m: os.open("/dev/fuse", os.O_RDONLY), "it is not opened for reading and writing"),
    (lambda m: os.open(tier_file(m, "file"), os.O_RDONLY), "it is not /dev/fuse"),
    (lambda m: os.open("/", os.O_RDONLY), "it is not /dev/fuse"),
    (lambda m: memory(), "it is not /dev/fuse"),
    (lambda m: unattached(), "it serves no mount"),
])
def test_what_is_not_the_sessions_device_is_not_taken_back(mounter, make, phrase):
    mounter.kill_and_start()
    wrong, shared = make(mounter), memory()
    status, _, text, _ = mounter.alice.call(GIVE, mounter.session, fds=[wrong, shared])
    assert (status, text) == (-13, f"the descriptor is refused: {phrase}")
    mounter.refused(phrase)
    assert mounter.alice.call(FETCH, mounter.session)[0] == -errno.ENODATA  # nothing of it was kept
    for fds in ([mounter.device], [shared], [mounter.device, shared, shared], []):
        assert mounter.alice.call(GIVE, mounter.session, fds=fds)[0] == -errno.EINVAL
    status, _, text, _ = mounter.alice.call(GIVE, mounter.session, fds=[mounter.device, wrong])
    if phrase != "it is not /dev/fuse" or not os.readlink(f"/proc/self/fd/{wrong}").startswith("/memfd"):
        assert (status, text) == (-13, "only shared memory (memfd) is kept")
    os.close(wrong)
    os.close(shared)


def test_the_device_of_another_mount_is_not_taken_back_where_the_kernel_tells(mounter):
    other = secrets.token_bytes(16)
    status, _, text, fds = mounter.alice.call(MOUNT, other, arg=1 << 20, path=f"{mounter.folder}/mnt/b")
    assert status == 0, text
    answer_init(fds[0])
    told = "fuse_connection:" in pathlib.Path(f"/proc/self/fdinfo/{fds[0]}").read_text()
    mounter.kill_and_start()
    shared = memory()
    status, _, text, _ = mounter.alice.call(GIVE, mounter.session, fds=[fds[0], shared])
    if told:
        assert (status, text) == (-13, "the descriptor is refused: it serves another mount")
    assert mounter.alice.call(UNMOUNT, other, flags=LAZY)[0] == 0
    os.close(fds[0])
    os.close(shared)
    if not told:
        pytest.skip("this kernel does not tell whose a /dev/fuse descriptor is (6.18 does)")


def test_another_clients_mount_cannot_be_claimed_from_a_new_mounter(mounter):
    mounter.kill_and_start()
    shared = memory()
    for session in (mounter.session, secrets.token_bytes(16), bytes(16)):
        status, _, text, _ = mounter.mallory.call(GIVE, session, fds=[mounter.device, shared])
        assert (status, text) == (-2, "no such session of this client")
    assert mounter.mallory.call(UNMOUNT, mounter.session, flags=LAZY)[0] == -2
    assert mounter.mallory.call(MOUNT, mounter.session, arg=1 << 20, path=f"{mounter.folder}/mnt/b")[0] == -17
    mounter.refused("no such session of this client")
    assert mounter.alice.call(GIVE, mounter.session, fds=[mounter.device, shared])[0] == 0
    os.close(shared)


def mount_by_hand(target, source, user_id):
    """What a user can have mounted with a setuid helper: any source, but a user_id of their own."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id={user_id},group_id=0".encode()
    assert libc.mount(source.encode(), os.fsencode(target), b"fuse.larder", 0, options) == 0, ctypes.get_errno()
    return fd


def test_a_mount_that_only_looks_like_one_of_a_clients_is_left_alone(mounter):
    name = f"larder:{secrets.token_bytes(16).hex()}:{mounter.folder}/mallory/s"
    device = mount_by_hand(mounter.folder / "mnt/b", name, 1000)
    try:
        mounter.kill_and_start()
        assert mounter.mallory.call(LIST)[:2] == (0, 0)
    finally:
        subprocess.run(["umount", "-l", mounter.folder / "mnt/b"], check=True)
        os.close(device)


def test_gives_that_are_refused_leak_no_descriptor(mounter):
    mounter.kill_and_start()
    before = open_descriptors(mounter)
    shared, null = memory(), os.open("/dev/null", os.O_RDWR)
    for _ in range(20):
        mounter.alice.call(GIVE, mounter.session, fds=[null, shared])
        mounter.mallory.call(GIVE, mounter.session, fds=[mounter.device, shared])
    os.close(shared)
    os.close(null)
    # Those of devices are closed by a thread of their own (csi-driver/mounter/closing.c).
    wait_for("all that came to be closed", lambda: open_descriptors(mounter) == before, 5)


# ---- descriptors of files that a hostile client serves itself ----


class Silent(threading.Thread):
    """Serves a session's device as a hostile node may: a file can be looked up, and then nothing is answered."""

    def __init__(self, device):
        super().__init__(daemon=True)
        self.device, self.silent = device, False
        self.start()

    @staticmethod
    def attributes(node, mode):
        return struct.pack("=QQQQQQIIIIIIIIII", node, 4096, 8, 0, 0, 0, 0, 0, 0, mode, 1, NODE_UID, NODE_UID, 0, 4096, 0)

    def answer(self, opcode, node):
        if self.silent:
            return None
        if opcode == 1:  # LOOKUP; no attribute is valid for any time
            return struct.pack("=QQQQII", 2, 0, 0, 0, 0, 0) + self.attributes(2, 0o100644)
        if opcode == 14:  # OPEN
            return struct.pack("=QII", 1, 0, 0)
        if opcode == 3:  # GETATTR
            return struct.pack("=QII", 0, 0, 0) + self.attributes(node, 0o40755 if node == 1 else 0o100644)
        return None

    def run(self):
        while True:
            try:
                request = os.read(self.device, 65536)
            except OSError:  # the mount is gone
                return
            opcode, unique, node = struct.unpack_from("=IQQ", request, 4)
            out = self.answer(opcode, node)
            if out is not None:
                os.write(self.device, struct.pack("=IiQ", 16 + len(out), 0, unique) + out)


@pytest.mark.parametrize("op", [BACKING_OPEN, KEEP, GIVE])
def test_the_mounter_asks_no_server_about_a_file_that_it_is_sent(mounter, op):
    if op == GIVE:
        mounter.kill_and_start()
    server = Silent(mounter.device)
    fd = os.open(f"{mounter.folder}/mnt/a/file", os.O_PATH)  # its close asks nobody either
    server.silent = True
    try:
        mounter.alice.socket.settimeout(5)
        status, _, _, _ = mounter.alice.call(op, mounter.session, fds=[fd] * (2 if op == GIVE else 1))
        assert status == -errno.EACCES
        mounter.mallory.socket.settimeout(5)
        assert mounter.mallory.call(LIST)[0] == 0
    finally:
        # Whatever became of the mounter: all that waits for the server is let go.
        subprocess.run(["umount", "--force", mounter.folder / "mnt/a"], check=False, timeout=10)
        os.close(fd)
        server.join(5)


def test_closing_what_it_was_sent_keeps_the_mounter_from_nobody(mounter):
    server = Silent(mounter.device)
    held = os.open(f"{mounter.folder}/mnt/a/file", os.O_RDONLY)  # its close asks the server: FLUSH
    server.silent = True
    mounter.mallory.socket.settimeout(5)
    message = REQUEST.pack(1, BACKING_OPEN, 1, mounter.session, 0, 0, 0, 0, b"", b"")
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < CLOSING_MAX - 8:  # each of them hangs
            attacker = Client(mounter.folder / "alice/s")
            attacker.socket.settimeout(5)
            assert attacker.call(BACKING_OPEN, mounter.session, fds=[held])[0] == -errno.EACCES
            socket.send_fds(attacker.socket, [message], [held] * 9)  # one too many: cut, and hung up on
            assert attacker.socket.recv(REPLY.size) == b""
            attacker.close()
            sent += 9
            assert mounter.mallory.call(LIST)[0] == 0
        attacker = Client(mounter.folder / "alice/s")
        attacker.call(BACKING_OPEN, mounter.session, fds=[held] * 8)
        attacker.close()
    mounter.refused("mounts aborted: closing what it sent hangs")
    assert mounter.mallory.call(LIST)[0] == 0
    server.join(5)  # its connection is no more, so nothing hangs any longer
    assert not server.is_alive()
    with contextlib.suppress(OSError):  # it says that the connection has ended, and is closed
        os.close(held)
    wait_for("alice to be heard again", lambda: Client(mounter.folder / "alice/s").call(LIST)[0] == 0, 5)
    mounter.alice.close()
    mounter.alice = Client(mounter.folder / "alice/s")
