"""The life of a mount: status, unmounting, several at once, killed and terminated daemons."""

import errno
import os
import re
import signal
import socket
import subprocess
import threading
import time
import unittest
from pathlib import Path

from files import MIB, random_bytes
from guard import mounts_below
from harness import CofferTest
from processes import BINARY, SELF, alive, coffer, need_root, run, start, wait_until
from stores import Store


def put_synced(path: str | Path, data: bytes) -> None:
    with open(path, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def file_keys(store: Store) -> list[str]:
    """The states of all DEKs."""
    return sorted(key["state"] for key in store.coffer("key", "list", store.path, "--files", "--json").json)


class Status(CofferTest):
    def test_one_and_all(self) -> None:
        store, other = self.new_store(), self.new_store("other")
        mount, second = self.new_mount(store), self.new_mount(other, "--read-only", at="second")
        with open(mount.path / "file", "wb"):
            status = mount.status()
            self.assertEqual(status["open_files"], 1)
        self.assertEqual({key: status[key] for key in ("mountpoint", "store", "store_id", "keystore", "master_key", "read_only", "pid")},
                         {"mountpoint": str(mount.path), "store": str(store.path), "store_id": store.id,
                          "keystore": str(store.path / ".coffer/keystore.db"), "master_key": f"local:{store.key}",
                          "read_only": False, "pid": mount.pid})
        self.assertTrue(second.status()["read_only"])
        self.assertGreater(status["audit_lines"], 0)
        every = {row["mountpoint"]: row["pid"] for row in coffer("status", "--json").json}
        self.assertEqual((every[str(mount.path)], every[str(second.path)]), (mount.pid, second.pid))
        table = coffer("status").out
        self.assertRegex(table, rf"(?m)^{re.escape(str(second.path))} +{re.escape(str(other.path))} +ro +{second.pid} ")
        self.assertIn(str(store.key), coffer("status", mount.path).out)
        self.assertEqual(coffer("status", f"{mount.path}/", "--json").json["pid"], mount.pid)
        mount.umount()
        self.assertNotIn(str(mount.path), coffer("status").out)

    def test_the_kernel_reads_ahead(self) -> None:
        """Far enough for several requests at once: by the kernel's own setting, which the mount's first request sets back."""
        need_root()
        device = os.stat(self.new_mount(self.new_store()).path).st_dev
        setting = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
        self.assertEqual(setting.read_text(), "4096\n")

    def test_requests_of_any_kind(self) -> None:
        """Whatever is sent to it, a mount answers, and goes on."""
        mount = self.new_mount(self.new_store())
        (path,) = (SELF.home / "run").glob("*.sock")
        for request in (b'{"verb":1}', b'{"verb":null}', b'{"verb":["status"]}', b'"status"', b"[]", b"{", b"\xff", b"",
                        b'{"verb":"scope-create","path":7}'):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                connection.sendall(request + b"\n")
                self.assertIn(b'"error"', connection.makefile("rb").readline(), request)
        self.assertEqual(coffer("status", mount.path, "--json").json["pid"], mount.pid)

    def test_relative_paths(self) -> None:
        store = self.new_store()
        at = self.place("mnt")
        at.mkdir()
        here = self.place("")
        coffer("mount", "store", "mnt", cwd=here)
        self.addCleanup(coffer, "umount", at, check=False)
        (at / "file").write_bytes(b"x")
        self.assertEqual(coffer("status", "mnt", "--json", cwd=here).json["store"], str(store.path))
        coffer("umount", "mnt/", cwd=here)
        self.assertEqual(mounts_below(str(here)), [])


class Unmounting(CofferTest):
    def test_everything_is_on_record(self) -> None:
        """When coffer umount returns, the daemon is gone and every key that is in use is active in the keystore."""
        store = self.new_store()
        mount = self.new_mount(store)
        for number in range(300):
            (mount.path / str(number)).write_bytes(random_bytes(number * 10, number))
        with open(mount.path / "large", "wb") as stream:
            for _ in range(30):
                stream.write(random_bytes(MIB, 1))
        os.unlink(mount.path / "7")
        mount.umount()
        states = file_keys(store)
        self.assertEqual((states.count("active"), states.count("deactivated")), (300, 1))
        self.assertEqual(states.count("pre-activation"), 0, "the pool's rest is given back")
        report = store.verify()
        self.assertEqual((report["files"], report["keys_without_file"], report["spare_keys"]), (300, 0, 0))

    def test_in_use(self) -> None:
        store = self.new_store()
        mount = self.new_mount(store)
        with open(mount.path / "file", "wb") as stream:
            stream.write(b"first ")
            failed = coffer("umount", mount.path, check=False)
            self.assertEqual(failed.code, 16, str(failed))
            self.assertIn(f"fuser -vm {mount.path}", failed.err)
            stream.write(b"second")
        mount.umount()
        store.verify()

    def test_lazily(self) -> None:
        """Detached at once; whoever has a file open goes on, and the daemon ends when nobody does."""
        store = self.new_store()
        mount = self.new_mount(store)
        with open(mount.path / "file", "wb") as stream:
            coffer("umount", "--lazy", mount.path)
            self.assertFalse(mount.mounted())
            self.assertTrue(alive(mount.pid))
            stream.write(b"written after the mount was detached")
        wait_until(lambda: not alive(mount.pid), "the daemon ends")
        store.verify()
        mount = self.new_mount(store)
        self.assertEqual((mount.path / "file").read_bytes(), b"written after the mount was detached")

    def test_terminated(self) -> None:
        """SIGTERM, as at shutdown: unmounted, committed and recorded, although files are open."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            store = self.new_store(f"store-{number}")
            mount = self.new_mount(store, at=f"mnt-{number}")
            stream = open(mount.path / "open", "wb", buffering=0)  # pylint: disable=consider-using-with
            stream.write(random_bytes(600_000))
            (mount.path / "closed").write_bytes(b"closed")
            os.kill(mount.pid, number)
            wait_until(lambda: not alive(mount.pid), f"the daemon ends on signal {number}", 10)
            self.assertFalse(mount.mounted())
            self.assertEqual(mount.logged_errors(), [])
            with self.assertRaises(OSError):
                stream.write(b"to nobody")
            try:
                stream.close()
            except OSError:
                pass
            self.assertEqual(store.verify()["files"], 2)
            self.assertEqual(file_keys(store).count("active"), 2)
            mount = self.new_mount(store, at=f"mnt-{number}")
            self.assertEqual((mount.path / "closed").read_bytes(), b"closed")
            self.assert_content(mount.path / "open", random_bytes(600_000))
            mount.umount()


class Killed(CofferTest):
    def test_what_was_synced_is_there(self) -> None:
        """kill -9 with files open, being written and just closed: the store mounts again, at once, and what was synced is whole."""
        store = self.new_store()
        mount = self.new_mount(store)
        synced = {f"synced-{number}": random_bytes(number * 7001, number) for number in range(20)}
        for name, data in synced.items():
            put_synced(mount.path / name, data)
        (mount.path / "dir").mkdir()
        os.rename(mount.path / "synced-3", mount.path / "dir/moved")
        os.unlink(mount.path / "synced-4")
        grown = open(mount.path / "grown", "wb", buffering=0)  # pylint: disable=consider-using-with
        self.addCleanup(self.close_quietly, grown)
        grown.write(random_bytes(171 * 4096, 1))
        os.fsync(grown.fileno())
        grown.write(random_bytes(700_000, 2))  # not synced
        (mount.path / "closed").write_bytes(random_bytes(100_000, 3))  # closed, not synced: the machine did not fail, only the daemon
        mount.kill()

        mount = self.new_mount(store)
        for name, data in synced.items():
            path = {"synced-3": "dir/moved"}.get(name, name)
            if name == "synced-4":
                self.assertFalse((mount.path / name).exists())
            else:
                self.assert_content(mount.path / path, data)
        self.assert_bytes((mount.path / "grown").read_bytes()[:171 * 4096], random_bytes(171 * 4096, 1), "the synced part")
        self.assert_content(mount.path / "closed", random_bytes(100_000, 3))
        (mount.path / "closed").write_bytes(b"again")
        mount.umount()
        self.assertEqual(mount.logged_errors(), [])
        report = store.verify()
        self.assertEqual((report["files"], report["keys_without_file"]), (21, 0))

    def test_append_to_a_part_filled_chunk(self) -> None:
        """Without a redo journal an append that fills up the last chunk may cost this chunk, but none before, and never a wrong byte."""
        store = self.new_store()
        mount = self.new_mount(store)
        data = random_bytes(700_000, 1)
        put_synced(mount.path / "file", data)
        stream = open(mount.path / "file", "ab", buffering=0)  # pylint: disable=consider-using-with
        self.addCleanup(self.close_quietly, stream)
        stream.write(random_bytes(700_000, 2))
        mount.kill()
        mount = self.new_mount(store)
        self.assertGreaterEqual((mount.path / "file").stat().st_size, len(data))
        whole = len(data) // 4096 * 4096
        with open(mount.path / "file", "rb", buffering=0) as stream:
            self.assert_bytes(b"".join(os.pread(stream.fileno(), 4096, at) for at in range(0, whole, 4096)), data[:whole], "before")
            try:
                self.assert_bytes(os.pread(stream.fileno(), len(data) - whole, whole), data[whole:], "the last chunk")
            except OSError as failure:
                self.assertEqual(failure.errno, errno.EIO)
                self.assertIn("[corrupt]; ", mount.log())

    def test_while_many_write(self) -> None:
        """Killed at some moment of a storm of creating, renaming and deleting: names and contents are as some moment had them."""
        store = self.new_store()
        for round_ in range(3):
            mount = self.new_mount(store, at=f"mnt-{round_}")
            stop = threading.Event()

            def storm(worker: int, top: Path = mount.path) -> None:
                number = 0
                while not stop.is_set():
                    number += 1
                    try:
                        path = top / f"{worker}-{number % 17}"
                        path.write_bytes(b"%d" % number * 5000)
                        os.rename(path, top / f"{worker}-{number % 13}-renamed")
                        if number % 5 == 0:
                            os.unlink(top / f"{worker}-{number % 13}-renamed")
                    except OSError:
                        pass

            workers = [threading.Thread(target=storm, args=(worker,)) for worker in range(4)]
            for worker in workers:
                worker.start()
            time.sleep(0.4 + round_ * 0.2)
            os.kill(mount.pid, signal.SIGKILL)
            stop.set()
            for worker in workers:
                worker.join(30)
            mount.clear_away()
            mount = self.new_mount(store, at=f"mnt-{round_}")
            for name in os.listdir(mount.path):
                data = (mount.path / name).read_bytes()
                number = data[:len(data) // 5000]
                self.assertEqual(data, number * 5000, name)
            mount.umount()
            self.assertEqual(mount.logged_errors(), [])
        # What was deleted in the last moment may not be on record, and verify can't know who took it away. Nothing else is wrong.
        for finding in store.coffer("verify", store.path, "--json", check=False).json["findings"]:
            self.assertEqual(finding["cause"], "not-found", f"{finding}")
            self.assertIn("before a crash", finding["message"])

    @staticmethod
    def close_quietly(stream) -> None:
        try:
            stream.close()
        except OSError:
            pass


class Several(CofferTest):
    def test_two_stores_at_once(self) -> None:
        stores = [self.new_store(name) for name in ("one", "two")]
        mounts = [self.new_mount(store, at=f"{store.path.name}-mnt") for store in stores]
        for number, mount in enumerate(mounts):
            (mount.path / "file").write_bytes(b"%d" % number * 100_000)
        run("cp", "-a", mounts[0].path / "file", mounts[1].path / "copy")
        mounts[0].umount()
        self.assertEqual((mounts[1].path / "file").read_bytes(), b"1" * 100_000)
        self.assertEqual((mounts[1].path / "copy").read_bytes(), b"0" * 100_000)
        mounts[1].umount()
        self.assertEqual([store.verify()["files"] for store in stores], [1, 2])

    def test_a_store_in_a_mount(self) -> None:
        """A store whose backing lies in another's mount: encrypted twice, unmounted from the inside out."""
        outer = self.new_mount(self.new_store("outer"), at="outer-mnt")
        inner_store = Store(outer.path / "inner")
        inner = inner_store.mount(self.place("inner-mnt"))
        self.addCleanup(inner.close)
        data = random_bytes(3 * MIB)
        (inner.path / "file").write_bytes(data)
        failed = coffer("umount", outer.path, check=False)
        self.assertEqual(failed.code, 16, str(failed))
        inner.umount()
        inner_store.verify()
        inner = inner_store.mount(self.place("inner-mnt"))
        self.assert_content(inner.path / "file", data)
        inner.umount()
        outer.umount()
        outer.store.verify()

    def test_keystore_on_another_disk(self) -> None:
        keystore = self.place("keys.db")
        store = Store(self.place("store"), init=("--keystore", keystore))
        mount = self.new_mount(store)
        (mount.path / "file").write_bytes(b"x")
        self.assertEqual(mount.status()["keystore"], str(keystore))
        self.assertFalse((store.path / ".coffer/keystore.db").exists())
        mount.umount()
        moved = self.place("moved")
        os.rename(store.path, moved)  # the store may move, its keystore stands where it was
        coffer("mount", moved, mount.path)
        self.assertEqual((mount.path / "file").read_bytes(), b"x")
        coffer("umount", mount.path)


class Foreground(CofferTest):
    def in_foreground(self, store: Store, at: Path, *words: str) -> subprocess.Popen:
        at.mkdir(exist_ok=True)
        process = start(BINARY, "mount", "--foreground", store.path, at, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                        stdin=subprocess.DEVNULL)
        self.addCleanup(process.kill)
        wait_until(lambda: str(at) in mounts_below(str(at.parent)), "the mount is there")
        return process

    def test_until_unmounted(self) -> None:
        store, at = self.new_store(), self.place("mnt")
        process = self.in_foreground(store, at)
        (at / "file").write_bytes(b"content")
        self.assertIsNone(process.poll())
        coffer("umount", at)
        out, err = process.communicate(timeout=10)
        self.assertEqual((process.returncode, out), (0, b""))
        self.assertRegex(err.decode(), rf"mounted {re.escape(str(store.path))} at .*\n(.*\n)*.*unmounted {re.escape(str(at))}\n$")
        self.assertEqual(store.verify()["files"], 1)

    def test_until_interrupted(self) -> None:
        store, at = self.new_store(), self.place("mnt")
        process = self.in_foreground(store, at)
        (at / "file").write_bytes(b"content")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
        self.assertEqual(process.returncode, 0, err.decode())
        self.assertEqual(mounts_below(str(at.parent)), [])
        self.assertEqual(store.verify()["files"], 1)

    def test_errors_go_to_stderr(self) -> None:
        store, at = self.new_store(), self.place("mnt")
        (self.place("file")).write_bytes(b"content" * 1000)
        store.coffer("import", self.place("file"), store.path)
        (entry,) = set(os.listdir(store.path)) - {".coffer", ".coffer.dir"}
        with open(store.path / entry, "r+b") as stream:
            os.pwrite(stream.fileno(), b"damage", 8192 + 4096 + 50)
        process = self.in_foreground(store, at)
        self.assert_errno(errno.EIO, (at / "file").read_bytes)
        coffer("umount", at)
        _, err = process.communicate(timeout=10)
        self.assertRegex(err.decode(), r"\[error\] read /file: .*\[corrupt\]; run 'coffer verify'")


class Background(CofferTest):
    def test_leaves_nothing_open(self) -> None:
        """The daemon keeps neither the terminal, nor its directory, nor pipes of whoever started it; and it can't be dumped."""
        need_root()
        store = self.new_store()
        at = self.place("mnt")
        at.mkdir()
        working = self.place("working")
        working.mkdir()
        process = start(BINARY, "mount", store.path, at, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.PIPE)
        self.addCleanup(coffer, "umount", at, check=False)
        out, err = process.communicate(timeout=10)  # ends only when nobody holds the pipes any more
        self.assertEqual((process.returncode, out, err), (0, b"", b""))
        pid = coffer("status", at, "--json").json["pid"]
        self.assertEqual(os.readlink(f"/proc/{pid}/cwd"), "/")
        for number in range(3):
            self.assertEqual(os.readlink(f"/proc/{pid}/fd/{number}"), "/dev/null")
        self.assertEqual(os.getsid(pid), pid)
        self.assertEqual(os.stat(f"/proc/{pid}/environ").st_uid, 0)
        limits = Path(f"/proc/{pid}/limits").read_text()
        self.assertRegex(limits, r"Max core file size +0 +0 ")
        self.assertEqual(os.listdir(working), [])

    def test_log_file(self) -> None:
        store = self.new_store()
        mount = self.new_mount(store)
        mount.umount()
        self.assertRegex(mount.log(), r"(?s)\[info\] mounted .*, .*\[info\] unmounted ")
        self.assertEqual(oct(mount.log_file.stat().st_mode), "0o100600", "it names files")


if __name__ == "__main__":
    unittest.main()
